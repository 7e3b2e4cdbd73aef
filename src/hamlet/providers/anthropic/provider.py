"""The adapter: chat, the fast lane, listing, probe."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from typing import ClassVar

import orjson
from pydantic import Field

from hamlet.core import (
    ChatEvent,
    ChatRequest,
    ModelCard,
    NativeChunk,
    NativeRequest,
    errors,
    with_headroom,
)
from hamlet.providers.anthropic import decode, encode
from hamlet.providers.anthropic import passthrough as wire
from hamlet.providers.anthropic.errors import error_class
from hamlet.providers.anthropic.rate_limit_headers import parse_headroom
from hamlet.spi import (
    API_VERSION,
    ProviderSettings,
    Reply,
    Runtime,
    cards_from,
    raise_for_upstream,
    require_event_stream,
    sse,
)


class AnthropicSettings(ProviderSettings):
    """`max_tokens` is sent if the call has no limit: this API requires one."""

    base_url: str = "https://api.anthropic.com"
    version: str = "2023-06-01"
    max_tokens: int = Field(default=4096, ge=1)


class Anthropic:
    """Anthropic's Messages API."""

    api_version: ClassVar[int] = API_VERSION
    Settings: ClassVar[type[ProviderSettings]] = AnthropicSettings
    cards: Mapping[str, ModelCard] = cards_from("hamlet.providers.anthropic")
    dialect: ClassVar[str] = "anthropic"

    def __init__(self, settings: AnthropicSettings, runtime: Runtime) -> None:
        headers = {"anthropic-version": settings.version}
        if settings.api_key:
            headers["x-api-key"] = settings.secret()
        self._http = runtime.http(settings, headers)
        self._max_tokens = settings.max_tokens

    async def chat(self, request: ChatRequest) -> AsyncGenerator[ChatEvent, None]:
        sent = orjson.dumps(encode.encode_request(request, self._max_tokens))
        async with self._post(sent) as reply:
            await raise_for_upstream(reply, error_class)
            quota_headroom = parse_headroom(reply.headers)
            if not request.stream:
                for event in decode.decode_response(await reply.aread(), request.model):
                    yield with_headroom(event, quota_headroom)
                return
            require_event_stream(reply)
            async for event in decode.decode_stream(
                sse(reply, request.terms.byte_idle_s), request.model
            ):
                yield with_headroom(event, quota_headroom)

    async def native(self, request: NativeRequest) -> AsyncGenerator[NativeChunk, None]:
        if not request.stream:
            yield await self.native_whole(request)
            return
        async with self._post(wire.encode_native_request(request)) as reply:
            await raise_for_upstream(reply, error_class)
            if quota_headroom := parse_headroom(reply.headers):
                yield NativeChunk(b"", headroom=quota_headroom)
            require_event_stream(reply)
            chunks = wire.forward_events(reply, request.terms.byte_idle_s)
            # The stream would keep the prompt in memory.
            del request
            async for chunk in chunks:
                yield chunk

    async def native_whole(self, request: NativeRequest) -> NativeChunk:
        async with self._post(wire.encode_native_request(request)) as reply:
            await raise_for_upstream(reply, error_class)
            return wire.native_response(await reply.aread(), parse_headroom(reply.headers))

    async def models(self) -> Sequence[str]:
        async with self._http.stream("GET", "/v1/models?limit=1000") as reply:
            await raise_for_upstream(reply, error_class)
            try:
                return [row["id"] for row in orjson.loads(await reply.aread())["data"]]
            except (ValueError, KeyError, TypeError):
                raise errors.UpstreamProtocol("the upstream's list of models is odd") from None

    async def probe(self) -> None:
        async with self._http.stream("GET", "/v1/models?limit=1") as reply:
            await raise_for_upstream(reply, error_class)

    def _post(self, content: bytes) -> AbstractAsyncContextManager[Reply]:
        return self._http.stream("POST", "/v1/messages", content=content)
