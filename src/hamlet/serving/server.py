"""uvicorn, the way hamlet runs it: it drains before it stops."""

from __future__ import annotations

import asyncio
import gc
import signal
import socket
from collections.abc import Awaitable, Callable
from email.utils import formatdate
from types import FrameType
from typing import Any, Protocol

import uvicorn

from hamlet.api.dialects.openai.errors import render_error
from hamlet.config import ServerConfig, TelemetryConfig
from hamlet.net.server.connection import Patience, guarded, most_connections
from hamlet.serving.beside import Beside
from hamlet.spi import Log
from hamlet.telemetry import adopt_stdlib

_KEEP_ALIVE_S = 5
_LAST_WORDS_S = 2.0
_TICK_S = 0.05
_GARBAGE = 10_000


class Drains(Protocol):
    """An ASGI application that can be told to stop in steps."""

    log: Log

    def admin_app(self) -> Any:
        """Health and metrics, as an ASGI application."""
        ...

    def __call__(self, scope: Any, receive: Any, send: Any) -> Awaitable[None]: ...

    def drain(self) -> None:
        """Say on /readyz that no more traffic is wanted; everything is still served."""
        ...

    def end_streams(self) -> int:
        """End what still runs, streams with an error in-band; returns how many there were."""
        ...


class DrainingServer(uvicorn.Server):
    """Stops in this order, on SIGTERM.

    1. /readyz turns 503 and every answer says `Connection: close`; for `delay_s` all is served.
    2. No new connection is accepted. Kept ones close after five seconds of silence, and what
       still comes on them is answered.
    3. Calls and streams under way have `limit_s`; then streams end with an error in-band.

    SIGINT, or a second SIGTERM, skips the waiting of 1 and 2; a third signal that of 3.
    """

    def __init__(
        self,
        application: Drains,
        *,
        patience: Patience,
        delay_s: float = 1.0,
        limit_s: float = 30.0,
        backlog: int = 2048,
        started: Callable[[], None] = lambda: None,
        beside: Beside | None = None,
    ) -> None:
        self._beside = beside
        config = uvicorn.Config(
            application,
            http=guarded(patience, render_error),  # type: ignore[arg-type]
            limit_concurrency=most_connections(),
            interface="asgi3",
            lifespan="on",
            log_config=None,
            access_log=False,
            server_header=False,
            # Nobody asks from where a request came; looking for it costs each of them.
            proxy_headers=False,
            backlog=backlog,
            timeout_keep_alive=_KEEP_ALIVE_S,
        )
        super().__init__(config)
        self._application = application
        self._delay_s, self._limit_s = delay_s, limit_s
        self._started = started
        self._signals = 0

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        # Unlike uvicorn we do not raise the signal again at the end: a drained stop is status 0.
        self._signals += 2 if sig == signal.SIGINT and not self._signals else 1
        self.should_exit = True

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self._beside is not None:
            await self._beside.start()
        self._started()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        log, state = self._application.log, self.server_state
        log.info("drain.started", connections=len(state.connections), calls=len(state.tasks))
        self._application.drain()
        await self._until(lambda: self._signals > 1, self._delay_s)
        for server in self.servers:
            server.close()
        for sock in sockets or []:
            sock.close()
        silence_s = min(_KEEP_ALIVE_S, self._limit_s)
        waited = await self._until(lambda: self._signals > 1 or self._idle(), silence_s)
        for connection in list(state.connections):
            connection.shutdown()
        await self._until(lambda: self._signals > 2 or self._idle(), self._limit_s - waited)
        if cut := self._application.end_streams():
            await self._until(self._idle, _LAST_WORDS_S)
        for task in list(state.tasks):
            task.cancel()
        log.info("drain.finished", cut=cut)
        if self._beside is not None:
            await self._beside.aclose()
        await self.lifespan.shutdown()

    def _idle(self) -> bool:
        return not (self.server_state.connections or self.server_state.tasks)

    async def _until(self, holds: Callable[[], bool], within_s: float) -> float:
        """Wait until it holds, `within_s` at most; returns the seconds waited."""
        loop = asyncio.get_running_loop()
        begin = loop.time()
        while not holds() and loop.time() - begin < within_s:
            self._say_close()
            await asyncio.sleep(_TICK_S)
        return loop.time() - begin

    def _say_close(self) -> None:
        """Mark answers to come: their connection is not to be used again."""
        date = (b"date", formatdate(usegmt=True).encode())
        self.server_state.default_headers = [date, (b"connection", b"close")]


def run(
    application: Drains,
    sock: socket.socket,
    server: ServerConfig,
    telemetry: TelemetryConfig,
    started: Callable[[], None] = lambda: None,
) -> None:
    """Serve on a bound socket until SIGTERM or SIGINT."""
    adopt_stdlib(application.log)

    def settled() -> None:
        # What is here now stays: the collector need not look at it, not even once.
        gc.freeze()
        # A call leaves little garbage in cycles; Python would look for it every 700 allocations.
        gc.set_threshold(_GARBAGE, 20, 20)
        gc.enable()
        started()

    beside = None
    if telemetry.admin_port is not None:
        admin, log = application.admin_app(), application.log
        beside = Beside(admin, telemetry.admin_host, telemetry.admin_port, log)
    DrainingServer(
        application,
        patience=Patience(server.request_head_s, server.reader_stall_s),
        delay_s=server.drain_delay_s,
        limit_s=server.drain_s,
        started=settled,
        beside=beside,
    ).run(sockets=[sock])


def greet(host: str, sock: socket.socket) -> str:
    """What is printed when hamlet begins to serve."""
    name = "127.0.0.1" if host in ("0.0.0.0", "::") else host  # noqa: S104
    url = f"http://{f'[{name}]' if ':' in name else name}:{sock.getsockname()[1]}"
    return (
        f"hamlet serves on {url}\n"
        f"  the page        {url}/\n"
        f"  OpenAPI         {url}/openapi.json\n"
        f"  OpenAI clients  base_url={url}/v1\n"
        f"  Anthropic       base_url={url}"
    )
