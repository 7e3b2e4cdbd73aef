"""The legacy arm: forwards a request to hamlet1 and its response back, byte for byte."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

from hamlet.migration.captured_response import CapturedResponse
from hamlet.migration.legacy_client import LegacyClient, LegacyError
from hamlet.migration.proxy.asgi_messages import (
    ResponseRecorder,
    StreamedBody,
    request_target,
    response_body,
    response_start,
)
from hamlet.net.server.asgi import Receive, Scope

# hamlet's server sets its own.
_SERVER_HEADERS = (b"date",)


class ClientDisconnected(Exception):
    """The client disconnected before the response was complete."""


class LegacyProxy:
    """Forwards requests to hamlet1. One for all features."""

    def __init__(self, client: LegacyClient) -> None:
        self._client = client
        self._aborted_by_task: dict[asyncio.Task[object], bool] = {}

    def abort_all(self) -> int:
        """Abort all requests under way and return their number; clients see a broken connection."""
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
        """Forward one request; `buffered_body` is its body if that has been read already.

        Raises LegacyError, or ClientDisconnected. A response that breaks off is never completed,
        which makes the server close the connection.
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
            own_cancellations = client_disconnected + self._aborted_by_task[task]
            if not own_cancellations or _uncancel(task, own_cancellations) > 0:
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
        """Repeat a request as a shadow call. Raises LegacyError."""

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
        exchange = self._client.stream(
            scope["method"], request_target(scope), scope["headers"], body_source
        )
        async with exchange as reply:
            kept = [pair for pair in reply.headers if pair[0] not in _SERVER_HEADERS]
            await recorder(response_start(reply.status, kept))
            async for chunk in reply.chunks:
                await recorder(response_body(chunk, more_body=True))
        await recorder(response_body(b"", more_body=False))


def _uncancel(task: asyncio.Task[object], count: int) -> int:
    """Take back `count` cancellation requests; returns how many remain."""
    remaining = 0
    for _ in range(count):
        remaining = task.uncancel()
    return remaining
