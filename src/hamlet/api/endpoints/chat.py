"""The chat endpoint, whatever the dialect: authenticate, parse, call, answer."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable
from typing import Any, Protocol

from hamlet.api.auth import Keyring
from hamlet.api.errors import error_headers, warning_headers
from hamlet.api.http import EventStream, HandlerResult, PendingStream, Request, Response, budget_s
from hamlet.core import ChatEvent, ChatResponse, fold
from hamlet.core.errors import HamletError, StreamInterrupted
from hamlet.gateway import Call, Caller, ChatStream, Gateway

_LARGE_BODY_BYTES = 256 << 10


class StreamEncoder(Protocol):
    """Turns the events of one answer into frames."""

    def encode(self, event: ChatEvent) -> bytes:
        """The frames this event makes, perhaps none."""
        ...


class Dialect(Protocol):
    """One wire language, as spoken to callers."""

    name: str
    keepalive: bytes

    def parse(self, request: Request) -> Call:
        """Read a request. Raises BadRequest."""
        ...

    def encode_response(self, response: ChatResponse) -> bytes:
        """The JSON body of a whole answer."""
        ...

    def new_encoder(self, call: Call) -> StreamEncoder:
        """An encoder for one stream."""
        ...

    def error_body(self, error: HamletError, request_id: str) -> bytes:
        """The JSON body of an error."""
        ...

    def error_frame(self, body: bytes) -> bytes:
        """The in-band frame that tells an error after the status has gone out."""
        ...

    def id_headers(self, request_id: str) -> dict[str, str]:
        """The headers that carry the request id."""
        ...


def error_response(dialect: Dialect, error: HamletError, request_id: str) -> Response:
    """The response that tells an error."""
    headers = error_headers(error) | dialect.id_headers(request_id)
    return Response(error.status, dialect.error_body(error, request_id), headers)


class ChatEndpoint:
    """Serves one dialect."""

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
            # Read is read: a stream must not keep its prompt.
            request.body = b""
        except HamletError as error:
            return self.render_error(error, request.id)
        if call.prompt_bytes > _LARGE_BODY_BYTES:
            # It took a while to read: others have their turn before it is written out again.
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
        """The response that tells an error."""
        return error_response(self._dialect, error, request_id)

    async def _respond(self, call: Call, caller: Caller) -> Response:
        try:
            stream = await self._gateway.chat(call, caller)
            try:
                body = self._response_body(stream)
            finally:
                # The books are kept when the answer has gone out: nobody waits for them.
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
        """A stream without an encoder is native."""
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
