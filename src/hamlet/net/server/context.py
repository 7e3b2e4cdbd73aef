"""What all connections of one server share."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import cast

from uvicorn.config import Config
from uvicorn.server import ServerState

from hamlet.net.server.asgi import ASGI, Receive, Scope, Send
from hamlet.net.server.memory_trim import MemoryTrim
from hamlet.net.server.response_head import STATUS_LINES, CommonHeaders
from hamlet.net.timers.timer_wheel import running_wheel

_ERROR_HEAD = (
    b"\r\ncontent-type: application/json\r\ncontent-length: %d\r\nconnection: close\r\n\r\n"
)


@dataclass(frozen=True, slots=True)
class ConnectionTimeouts:
    """Seconds to wait for a request's head, and for a client that stops reading its response."""

    head_s: float = 10.0
    reader_stall_s: float = 30.0


RenderError = Callable[[int, str], bytes]
"""Renders an error's JSON body from a status and a message: dialects are the application's."""


class ServerContext:
    """The application, the limits and the timers of one server, in the running event loop."""

    __slots__ = (
        "_render_error",
        "app",
        "common_headers",
        "keep_alive_s",
        "loop",
        "max_concurrency",
        "memory_trim",
        "state",
        "timeouts",
        "wheel",
    )

    def __init__(
        self,
        config: Config,
        state: ServerState,
        timeouts: ConnectionTimeouts,
        render_error: RenderError,
    ) -> None:
        """`config` is loaded; `state` has the server's connections and tasks."""
        self.app = cast(ASGI, config.loaded_app)
        self.max_concurrency = config.limit_concurrency
        self.keep_alive_s: float = config.timeout_keep_alive
        self.state, self.timeouts, self._render_error = state, timeouts, render_error
        self.wheel = running_wheel()
        self.loop: asyncio.AbstractEventLoop = self.wheel.loop
        self.memory_trim = MemoryTrim(self.wheel)
        self.common_headers = CommonHeaders(state)

    def error_response(self, status: int, message: str) -> bytes:
        """A whole error response, for requests that never reach the application."""
        body = self._render_error(status, message)
        return STATUS_LINES[status] + _ERROR_HEAD % len(body) + body

    async def refuse_full(self, _scope: Scope, _receive: Receive, send: Send) -> None:
        """Take the application's place while the server is full."""
        body = self._render_error(503, "hamlet has too many connections; please try again")
        headers = [
            (b"content-type", b"application/json"),
            (b"content-length", b"%d" % len(body)),
            (b"connection", b"close"),
            (b"retry-after", b"1"),
        ]
        await send({"type": "http.response.start", "status": 503, "headers": headers})
        await send({"type": "http.response.body", "body": body})
