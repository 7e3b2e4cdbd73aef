"""Sending responses over ASGI: whole, or as server-sent events with a heartbeat."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass

from hamlet.api.http import EventStream, PendingStream, Response
from hamlet.net.server.asgi import Send
from hamlet.net.timers.lazy_timer import LazyTimer
from hamlet.net.timers.timer_wheel import running_wheel

_SSE_HEADERS = {
    "content-type": "text/event-stream; charset=utf-8",
    "cache-control": "no-store",
    "x-accel-buffering": "no",
}


@dataclass(frozen=True, slots=True)
class StreamTimings:
    """When to send something although nothing is ready, in seconds."""

    header_wait_s: float = 8.0
    keepalive_s: float = 10.0


def response_headers(response: Response) -> dict[str, str]:
    """The headers of a whole response, with its content type and length."""
    if response.status == 304:
        return response.headers
    length = str(len(response.body))
    return {"content-type": response.media_type, "content-length": length, **response.headers}


async def send_response(send: Send, response: Response) -> None:
    """Send a whole response."""
    await _send_start(send, response.status, response_headers(response))
    await send({"type": "http.response.body", "body": response.body})


async def send_pending_stream(
    send: Send, pending: PendingStream, timings: StreamTimings, on_finishing: Callable[[], None]
) -> None:
    """Send an event stream as soon as it is ready, or its error with a real status.

    `on_finishing` is called before the last message: the server reports a disconnect after it.
    """
    result, started = await _await_result(send, pending, timings)
    if isinstance(result, EventStream):
        await _send_stream(send, result, pending, timings, started)
    elif started:
        await _send_frames(send, pending.error_frames(result))
    else:
        on_finishing()
        return await send_response(send, result)
    on_finishing()
    await send({"type": "http.response.body", "body": b""})


async def _await_result(
    send: Send, pending: PendingStream, timings: StreamTimings
) -> tuple[Response | EventStream, bool]:
    """The result of `ready`, and whether the status has been sent by then."""
    ready = asyncio.ensure_future(pending.ready)
    started = False
    try:
        while not (await asyncio.wait({ready}, timeout=_wait_timeout_s(timings, started)))[0]:
            if not started:
                await _send_start(send, 200, _SSE_HEADERS | pending.headers)
                started = True
            await _send_frames(send, pending.keepalive)
        return await ready, started
    except BaseException:
        await _cancel_pending(ready)
        raise


async def _send_stream(
    send: Send, stream: EventStream, pending: PendingStream, timings: StreamTimings, started: bool
) -> None:
    try:
        if not started:
            await _send_start(send, 200, _SSE_HEADERS | pending.headers | stream.headers)
        heartbeat = _Heartbeat(send, pending.keepalive, timings.keepalive_s)
        try:
            async for frames in stream.frames:
                heartbeat.set_timeout(timings.keepalive_s)
                await _send_frames(send, frames)
        finally:
            await heartbeat.stop()
    finally:
        await close_stream(stream)


async def close_stream(stream: EventStream) -> None:
    """Close the frames, then their source: a generator that never started runs no `finally`."""
    try:
        await stream.frames.aclose()
    finally:
        await stream.close()


class _Heartbeat(LazyTimer):
    """Sends the keepalive frame when nothing else was sent for `interval_s` seconds."""

    __slots__ = ("_frame", "_interval_s", "_send", "_sending")

    def __init__(self, send: Send, frame: bytes, interval_s: float) -> None:
        super().__init__(running_wheel())
        self._send, self._frame, self._interval_s = send, frame, interval_s
        self._sending: asyncio.Task[None] | None = None
        self.set_timeout(interval_s)

    async def stop(self) -> None:
        self.cancel_timeout()
        if self._sending is not None and not self._sending.done():
            self._sending.cancel()
            await asyncio.wait({self._sending})

    def on_timeout(self) -> None:
        # Heartbeats must not pile up for a client that does not read.
        if self._sending is None or self._sending.done():
            frames = _send_frames(self._send, self._frame)
            self._sending = self._wheel.loop.create_task(frames)
        self.set_timeout(self._interval_s)


async def _cancel_pending(ready: asyncio.Future[Response | EventStream]) -> None:
    ready.cancel()
    await asyncio.wait({ready})
    # If it became ready at the same moment, its upstream call must be closed here.
    if not ready.cancelled() and ready.exception() is None:
        result = ready.result()
        if isinstance(result, EventStream):
            await close_stream(result)


def _wait_timeout_s(timings: StreamTimings, started: bool) -> float:
    return timings.keepalive_s if started else timings.header_wait_s


async def _send_start(send: Send, status: int, headers: dict[str, str]) -> None:
    raw = [(k.encode("latin-1"), v.encode("latin-1", "replace")) for k, v in headers.items()]
    await send({"type": "http.response.start", "status": status, "headers": raw})


async def _send_frames(send: Send, frames: bytes) -> None:
    await send({"type": "http.response.body", "body": frames, "more_body": True})
