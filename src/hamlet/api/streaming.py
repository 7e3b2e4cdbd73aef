"""Sending answers over ASGI: whole, or as server-sent events with a heartbeat."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass

from hamlet.api.http import EventStream, Opening, Response
from hamlet.net.server.asgi import Send
from hamlet.spi import running_wheel

_SSE_HEADERS = {
    "content-type": "text/event-stream; charset=utf-8",
    "cache-control": "no-store",
    "x-accel-buffering": "no",
}


@dataclass(frozen=True, slots=True)
class Pacing:
    """When to speak although there is nothing to say. Seconds."""

    header_wait_s: float = 8.0
    keepalive_s: float = 10.0


def whole_headers(response: Response) -> dict[str, str]:
    """The headers of a whole answer, with what its body is."""
    if response.status == 304:
        return response.headers
    length = str(len(response.body))
    return {"content-type": response.media_type, "content-length": length, **response.headers}


async def send_response(send: Send, response: Response) -> None:
    """Send a whole answer."""
    await _start(send, response.status, whole_headers(response))
    await send({"type": "http.response.body", "body": response.body})


async def send_opening(
    send: Send, opening: Opening, pacing: Pacing, finishing: Callable[[], None]
) -> None:
    """Send an event stream as soon as it is ready, or its error with a real status.

    `finishing` is called before the last message, after which the server reports a disconnect.
    """
    answer, started = await _answer(send, opening, pacing)
    if isinstance(answer, EventStream):
        await _send_stream(send, answer, opening, pacing, started)
    elif started:
        await _send_frames(send, opening.in_band(answer))
    else:
        finishing()
        return await send_response(send, answer)
    finishing()
    await send({"type": "http.response.body", "body": b""})


async def _answer(
    send: Send, opening: Opening, pacing: Pacing
) -> tuple[Response | EventStream, bool]:
    """What comes of an opening, and whether the status has gone out by then."""
    ready = asyncio.ensure_future(opening.ready)
    started = False
    try:
        while not (await asyncio.wait({ready}, timeout=_patience(pacing, started)))[0]:
            if not started:
                await _start(send, 200, _SSE_HEADERS | opening.headers)
                started = True
            await _send_frames(send, opening.keepalive)
        return await ready, started
    except BaseException:
        await _abandon(ready)
        raise


async def _send_stream(
    send: Send, stream: EventStream, opening: Opening, pacing: Pacing, started: bool
) -> None:
    try:
        if not started:
            await _start(send, 200, _SSE_HEADERS | opening.headers | stream.headers)
        heart = _Heartbeat(send, opening.keepalive, pacing.keepalive_s)
        try:
            async for frames in stream.frames:
                heart.beat()
                await _send_frames(send, frames)
        finally:
            await heart.stop()
    finally:
        await close(stream)


async def close(stream: EventStream) -> None:
    """Close the frames, then what they come from: a generator never begun runs no finally."""
    try:
        await stream.frames.aclose()
    finally:
        await stream.close()


class _Heartbeat:
    """Sends the keepalive frame when nothing else was sent for a while."""

    __slots__ = ("_every_s", "_frame", "_last", "_send", "_sending", "_slot", "_wheel")

    def __init__(self, send: Send, frame: bytes, every_s: float) -> None:
        self._send, self._frame, self._every_s = send, frame, every_s
        self._wheel = running_wheel()
        self._last = self._wheel.loop.time()
        self._slot = self._wheel.set(self._last + every_s, self)
        self._sending: asyncio.Task[None] | None = None

    def beat(self) -> None:
        self._last = self._wheel.loop.time()

    async def stop(self) -> None:
        self._wheel.unset(self._slot, self)
        if self._sending is not None and not self._sending.done():
            self._sending.cancel()
            await asyncio.wait({self._sending})

    def ring(self) -> None:
        now = self._wheel.loop.time()
        if now >= self._last + self._every_s:
            self._last = now
            # A client that does not read must not pile up heartbeats.
            if self._sending is None or self._sending.done():
                frames = _send_frames(self._send, self._frame)
                self._sending = self._wheel.loop.create_task(frames)
        self._slot = self._wheel.set(self._last + self._every_s, self)


async def _abandon(ready: asyncio.Future[Response | EventStream]) -> None:
    ready.cancel()
    await asyncio.wait({ready})
    # It may have become ready in the same moment: then its upstream call is ours to close.
    if not ready.cancelled() and ready.exception() is None:
        answer = ready.result()
        if isinstance(answer, EventStream):
            await close(answer)


def _patience(pacing: Pacing, started: bool) -> float:
    return pacing.keepalive_s if started else pacing.header_wait_s


async def _start(send: Send, status: int, headers: dict[str, str]) -> None:
    raw = [(k.encode("latin-1"), v.encode("latin-1", "replace")) for k, v in headers.items()]
    await send({"type": "http.response.start", "status": status, "headers": raw})


async def _send_frames(send: Send, frames: bytes) -> None:
    await send({"type": "http.response.body", "body": frames, "more_body": True})
