"""The legacy arm: a request through to hamlet1 and its answer back, byte for byte."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

from hamlet.migration import CapturedResponse
from hamlet.migration.legacy_client import LegacyClient, LegacyError
from hamlet.migration.proxy.asgi_messages import (
    ResponseRecorder,
    StreamedBody,
    request_target,
    response_body,
    response_start,
)
from hamlet.net.server.asgi import Receive, Scope

# The server sets its own; two of them would be wrong.
_SERVER_HEADERS = (b"date",)


class ClientDisconnected(Exception):
    """The client has gone."""


class LegacyProxy:
    """Passes requests through. One for all features."""

    def __init__(self, client: LegacyClient) -> None:
        self._client = client
        self._aborted_by_task: dict[asyncio.Task[object], bool] = {}

    def abort_all(self) -> int:
        """Break off what still runs; its clients see an answer that is cut, and not a whole one."""
        for task in self._aborted_by_task:
            self._aborted_by_task[task] = True
            task.cancel()
        return len(self._aborted_by_task)

    async def forward_to_legacy(
        self,
        scope: Scope,
        receive: Receive,
        recorder: ResponseRecorder,
        buffered_body: bytes | None = None,
    ) -> None:
        """Pass one request through; `whole` is its body if that was read already.

        Raises LegacyError, or Left if the client went away. An answer that is broken off is left
        without its end, which makes the server close the connection.
        """
        task = asyncio.current_task()
        assert task is not None
        disconnect_task: asyncio.Task[None] | None = None
        client_disconnected = False

        async def watch_disconnect() -> None:
            nonlocal client_disconnected
            while (await receive())["type"] != "http.disconnect":
                pass
            client_disconnected = True
            task.cancel()

        def on_body_complete() -> None:
            nonlocal disconnect_task
            disconnect_task = asyncio.create_task(watch_disconnect())

        self._aborted_by_task[task] = False
        try:
            sent: bytes | AsyncIterator[bytes] | None = buffered_body
            if buffered_body is None:
                sent = await StreamedBody(receive, on_body_complete).read_or_stream()
            else:
                on_body_complete()
            await self._relay(scope, sent, recorder)
        except ConnectionResetError:
            raise ClientDisconnected from None
        except asyncio.CancelledError:
            ours = client_disconnected + self._aborted_by_task[task]
            if not ours or [task.uncancel() for _ in range(ours)][-1] > 0:
                raise
            if client_disconnected:
                raise ClientDisconnected from None
            raise LegacyError(
                "hamlet is shutting down", response_started=recorder.has_started
            ) from None
        finally:
            del self._aborted_by_task[task]
            if disconnect_task is not None:
                disconnect_task.cancel()

    async def call_in_shadow(
        self, scope: Scope, buffered_body: bytes, capture_limit_bytes: int
    ) -> CapturedResponse:
        """Ask hamlet1 once more, in the dark. Raises LegacyError."""

        async def drop_message(message: object) -> None:
            return None

        recorder = ResponseRecorder(drop_message, capture_limit_bytes=capture_limit_bytes)
        await self._relay(scope, buffered_body, recorder)
        return recorder.captured_response()

    async def _relay(
        self,
        scope: Scope,
        body_source: bytes | AsyncIterator[bytes] | None,
        recorder: ResponseRecorder,
    ) -> None:
        asking = self._client.stream(
            scope["method"], request_target(scope), scope["headers"], body_source
        )
        async with asking as reply:
            kept = [pair for pair in reply.headers if pair[0] not in _SERVER_HEADERS]
            await recorder(response_start(reply.status, kept))
            async for chunk in reply.chunks:
                await recorder(response_body(chunk, more_body=True))
        await recorder(response_body(b"", more_body=False))
