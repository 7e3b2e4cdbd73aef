"""The chat endpoint, whatever the dialect: authenticate, parse, call, answer."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable
from typing import Any

from hamlet.api.auth import Keyring
from hamlet.api.dialects.base import Dialect, StreamEncoder, error_response
from hamlet.api.errors import warning_headers
from hamlet.api.http import EventStream, HandlerResult, PendingStream, Request, Response, budget_s
from hamlet.core import fold
from hamlet.core.errors import HamletError, StreamInterrupted
from hamlet.gateway import Call, Caller, ChatStream, Gateway

_LARGE_BODY_BYTES = 256 << 10


class ChatEndpoint:
    """Serves chat in one dialect."""

    def __init__(self, dialect: Dialect, gateway: Gateway, keyring: Callable[[], Keyring]) -> None:
        self._dialect = dialect
        self._gateway = gateway
        self._keyring = keyring

    async def __call__(self, request: Request) -> HandlerResult:
        dialect = self._dialect
        try:
            caller = self._keyring().authenticate(request.headers)
            call = dialect.parse(request)
            call.prompt_bytes = len(request.body)
            call.timeout_s = budget_s(request.headers)
            # A stream lives long and must not hold its prompt in memory.
            request.body = b""
        except HamletError as error:
            return self.render_error(error, request.id)
        if call.prompt_bytes > _LARGE_BODY_BYTES:
            # Parsing took a while; other tasks run before it is serialized for the upstream.
            await asyncio.sleep(0)
        if not call.stream:
            return await self._respond(call, caller)
        return PendingStream(
            ready=self._open_stream(call, caller),
            keepalive=dialect.keepalive,
            error_frames=lambda response: dialect.error_frame(response.body),
            headers=dialect.id_headers(request.id),
        )

    def render_error(self, error: HamletError, request_id: str) -> Response:
        """An error as a whole response."""
        return error_response(self._dialect, error, request_id)

    async def _respond(self, call: Call, caller: Caller) -> Response:
        try:
            stream = await self._gateway.chat(call, caller)
            try:
                body = self._response_body(stream)
            finally:
                # Settled after the response has been sent: the client need not wait for it.
                asyncio.get_running_loop().call_soon(stream.settle)
        except HamletError as error:
            return self.render_error(error, call.request_id)
        headers = self._dialect.id_headers(call.request_id)
        if stream.warnings:
            headers |= warning_headers(stream.warnings)
        return Response(200, body, headers)

    def _response_body(self, stream: ChatStream) -> bytes:
        items: Any = stream.read_all()
        if stream.native:
            return items[0].data if len(items) == 1 else b"".join([chunk.data for chunk in items])
        return self._dialect.encode_response(fold(items))

    async def _open_stream(self, call: Call, caller: Caller) -> Response | EventStream:
        try:
            stream = await self._gateway.chat(call, caller)
        except HamletError as error:
            return self.render_error(error, call.request_id)
        encoder = None if stream.native else self._dialect.new_encoder(call)
        frames = self._encode_frames(stream, encoder, call.request_id)
        return EventStream(frames, stream.aclose, warning_headers(stream.warnings))

    async def _encode_frames(
        self, stream: ChatStream, encoder: StreamEncoder | None, request_id: str
    ) -> AsyncGenerator[bytes, None]:
        """The frames of a stream; without an encoder its chunks are frames already."""
        item: Any
        try:
            async for item in stream:
                frames = item.data if encoder is None else encoder.encode(item)
                if frames:
                    yield frames
        except HamletError as error:
            interrupted = StreamInterrupted(f"the answer broke off: {error.message}")
            interrupted.__cause__ = error
            yield self._dialect.error_frame(self._dialect.error_body(interrupted, request_id))
