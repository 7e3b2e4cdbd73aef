"""The adapter: chat, the fast lane, embeddings, listing, probe."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from typing import ClassVar
from urllib.parse import quote

import orjson

from hamlet.core import (
    ChatEvent,
    ChatRequest,
    EmbeddingRequest,
    EmbeddingResponse,
    ModelCard,
    NativeChunk,
    NativeRequest,
    Terms,
    errors,
    with_headroom,
)
from hamlet.providers.openai import decode, embeddings, encode
from hamlet.providers.openai import passthrough as wire
from hamlet.providers.openai.auth import EntraToken
from hamlet.providers.openai.errors import error_class
from hamlet.providers.openai.rate_limit_headers import parse_headroom
from hamlet.providers.openai.settings import Settings as OpenAISettings
from hamlet.spi import (
    API_VERSION,
    Frame,
    ProviderSettings,
    Reply,
    Runtime,
    cards_from,
    raise_for_upstream,
    require_event_stream,
    sse,
)

ReplyContext = AbstractAsyncContextManager[Reply]


class OpenAI:
    """OpenAI, or Azure OpenAI in both URL forms."""

    api_version: ClassVar[int] = API_VERSION
    Settings: ClassVar[type[ProviderSettings]] = OpenAISettings
    cards: Mapping[str, ModelCard] = cards_from("hamlet.providers.openai")
    dialect: ClassVar[str] = "openai"
    kind: ClassVar[str] = "openai"
    max_tokens_field: str = "max_completion_tokens"

    def __init__(self, settings: OpenAISettings, runtime: Runtime) -> None:
        headers = settings.auth_header | settings.account_headers
        self._http = runtime.http(settings, headers)
        self._entra_token = EntraToken(settings, runtime) if settings.auth == "entra" else None
        self._azure_api_version = settings.api_version

    async def chat(self, request: ChatRequest) -> AsyncGenerator[ChatEvent, None]:
        sent = orjson.dumps(encode.encode_request(request, self.max_tokens_field, self.kind))
        async with await self._post("chat/completions", request.model, sent) as reply:
            await self._raise_for_upstream(reply)
            quota_headroom = parse_headroom(reply.headers)
            if not request.stream:
                raw = await reply.aread()
                if request.terms.require_filter:
                    decode.raise_if_unfiltered(raw)
                for event in decode.decode_response(raw, request.model):
                    yield with_headroom(event, quota_headroom)
                return
            require_event_stream(reply)
            async for event in decode.decode_stream(
                self._filtered_frames(reply, request.terms), request.model
            ):
                yield with_headroom(event, quota_headroom)

    async def native(self, request: NativeRequest) -> AsyncGenerator[NativeChunk, None]:
        if not request.stream:
            yield await self.native_whole(request)
            return
        async with await self._post_native(request) as reply:
            await self._raise_for_upstream(reply)
            if quota_headroom := parse_headroom(reply.headers):
                yield NativeChunk(b"", headroom=quota_headroom)
            require_event_stream(reply)
            chunks = wire.forward_chunks(reply, wire.wants_usage_frame(request), request.terms)
            # The stream would keep the prompt in memory.
            del request
            async for chunk in chunks:
                yield chunk

    async def native_whole(self, request: NativeRequest) -> NativeChunk:
        async with await self._post_native(request) as reply:
            await self._raise_for_upstream(reply)
            raw = await reply.aread()
            return wire.native_response(
                raw, request.terms.require_filter, parse_headroom(reply.headers)
            )

    async def embed(self, request: EmbeddingRequest) -> EmbeddingResponse:
        sent = orjson.dumps(embeddings.encode_embedding_request(request))
        async with await self._post("embeddings", request.model, sent) as reply:
            await self._raise_for_upstream(reply)
            return embeddings.decode_embedding_response(await reply.aread(), request)

    async def models(self) -> Sequence[str]:
        async with await self._send("GET", self._url("models")) as reply:
            await self._raise_for_upstream(reply)
            try:
                rows = orjson.loads(await reply.aread())["data"]
                return [row["id"] for row in rows]
            except (ValueError, KeyError, TypeError):
                raise errors.UpstreamProtocol("the upstream's list of models is odd") from None

    async def probe(self) -> None:
        async with await self._send("GET", self._url("models")) as reply:
            await self._raise_for_upstream(reply)

    async def _filtered_frames(self, reply: Reply, terms: Terms) -> AsyncIterator[Frame]:
        async for frame in sse(reply, terms.byte_idle_s):
            if terms.require_filter:
                decode.raise_if_unfiltered(frame.data)
            yield frame

    def _post_native(self, request: NativeRequest) -> Awaitable[ReplyContext]:
        sent = wire.encode_native_request(request, self.max_tokens_field)
        return self._post("chat/completions", request.model, sent)

    def _post(self, path: str, model: str, content: bytes) -> Awaitable[ReplyContext]:
        return self._send("POST", self._url(path, model), content)

    async def _send(self, method: str, url: str, content: bytes | None = None) -> ReplyContext:
        headers = await self._entra_token.authorization_header() if self._entra_token else {}
        return self._http.stream(method, url, content=content, headers=headers)

    async def _raise_for_upstream(self, reply: Reply) -> None:
        if reply.status == 401 and self._entra_token:
            self._entra_token.invalidate()
        await raise_for_upstream(reply, error_class)

    def _url(self, path: str, model: str = "") -> str:
        if self._azure_api_version is None:
            return f"/{path}"
        version = quote(self._azure_api_version, safe="")
        deployment = f"/deployments/{quote(model, safe='')}" if model else ""
        return f"/openai{deployment}/{path}?api-version={version}"
