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
from hamlet.providers.openai import decode, embeddings, encode, wire
from hamlet.providers.openai.auth import EntraToken
from hamlet.providers.openai.errors import classify
from hamlet.providers.openai.limits import headroom
from hamlet.providers.openai.settings import Settings as OpenAISettings
from hamlet.spi import (
    API_VERSION,
    Frame,
    ProviderSettings,
    Reply,
    Runtime,
    cards_from,
    need_events,
    raise_for_upstream,
    sse,
)

Sending = AbstractAsyncContextManager[Reply]


class OpenAI:
    """OpenAI, or Azure OpenAI in both URL forms."""

    api_version: ClassVar[int] = API_VERSION
    Settings: ClassVar[type[ProviderSettings]] = OpenAISettings
    cards: Mapping[str, ModelCard] = cards_from("hamlet.providers.openai")
    dialect: ClassVar[str] = "openai"
    kind: ClassVar[str] = "openai"
    max_tokens_field: str = "max_completion_tokens"

    def __init__(self, settings: OpenAISettings, runtime: Runtime) -> None:
        headers = settings.key_header | settings.account_headers
        self._http = runtime.http(settings, headers)
        self._entra = EntraToken(settings, runtime) if settings.auth == "entra" else None
        self._version = settings.api_version

    async def chat(self, request: ChatRequest) -> AsyncGenerator[ChatEvent, None]:
        sent = orjson.dumps(encode.body(request, self.max_tokens_field, self.kind))
        async with await self._post("chat/completions", request.model, sent) as reply:
            await self._check(reply)
            told = headroom(reply.headers)
            if not request.stream:
                raw = await reply.aread()
                if request.terms.require_filter:
                    decode.need_filter(raw)
                for event in decode.whole(raw, request.model):
                    yield with_headroom(event, told)
                return
            need_events(reply)
            async for event in decode.stream(self._frames(reply, request.terms), request.model):
                yield with_headroom(event, told)

    async def native(self, request: NativeRequest) -> AsyncGenerator[NativeChunk, None]:
        if not request.stream:
            yield await self.native_whole(request)
            return
        async with await self._forward(request) as reply:
            await self._check(reply)
            if told := headroom(reply.headers):
                yield NativeChunk(b"", headroom=told)
            need_events(reply)
            chunks = wire.stream(reply, wire.wants_usage(request), request.terms)
            # Sent is sent: a stream must not keep its prompt.
            del request
            async for chunk in chunks:
                yield chunk

    async def native_whole(self, request: NativeRequest) -> NativeChunk:
        async with await self._forward(request) as reply:
            await self._check(reply)
            raw = await reply.aread()
            return wire.whole(raw, request.terms.require_filter, headroom(reply.headers))

    async def embed(self, request: EmbeddingRequest) -> EmbeddingResponse:
        sent = orjson.dumps(embeddings.body(request))
        async with await self._post("embeddings", request.model, sent) as reply:
            await self._check(reply)
            return embeddings.response(await reply.aread(), request)

    async def models(self) -> Sequence[str]:
        async with await self._send("GET", self._url("models")) as reply:
            await self._check(reply)
            try:
                rows = orjson.loads(await reply.aread())["data"]
                return [row["id"] for row in rows]
            except (ValueError, KeyError, TypeError):
                raise errors.UpstreamProtocol("the upstream's list of models is odd") from None

    async def probe(self) -> None:
        async with await self._send("GET", self._url("models")) as reply:
            await self._check(reply)

    async def _frames(self, reply: Reply, terms: Terms) -> AsyncIterator[Frame]:
        async for frame in sse(reply, terms.byte_idle_s):
            if terms.require_filter:
                decode.need_filter(frame.data)
            yield frame

    def _forward(self, request: NativeRequest) -> Awaitable[Sending]:
        sent = wire.body(request, self.max_tokens_field)
        return self._post("chat/completions", request.model, sent)

    def _post(self, path: str, model: str, content: bytes) -> Awaitable[Sending]:
        return self._send("POST", self._url(path, model), content)

    async def _send(self, method: str, url: str, content: bytes | None = None) -> Sending:
        headers = await self._entra.header() if self._entra else {}
        return self._http.stream(method, url, content=content, headers=headers)

    async def _check(self, reply: Reply) -> None:
        if reply.status == 401 and self._entra:
            self._entra.forget()
        await raise_for_upstream(reply, classify)

    def _url(self, path: str, model: str = "") -> str:
        if self._version is None:
            return f"/{path}"
        version = quote(self._version, safe="")
        deployment = f"/deployments/{quote(model, safe='')}" if model else ""
        return f"/openai{deployment}/{path}?api-version={version}"
