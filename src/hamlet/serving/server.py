"""The main server: uvicorn, made to drain before it stops."""

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
from hamlet.net.server.connection import http_protocol
from hamlet.net.server.context import ConnectionTimeouts
from hamlet.serving.admin_server import AdminServer
from hamlet.serving.open_files import max_client_connections
from hamlet.spi import Log
from hamlet.telemetry import redirect_stdlib_logging

_KEEP_ALIVE_S = 5
_END_STREAMS_S = 2.0
_POLL_INTERVAL_S = 0.05
_GC_THRESHOLD = 10_000


class DrainableApp(Protocol):
    """An ASGI application that stops in steps."""

    log: Log

    def admin_app(self) -> Any:
        """Health and metrics, as an ASGI application."""
        ...

    def __call__(self, scope: Any, receive: Any, send: Any) -> Awaitable[None]: ...

    def start_draining(self) -> None:
        """Report on /readyz that no more traffic is wanted; requests are still served."""
        ...

    def end_streams(self) -> int:
        """End the calls in flight, streams with an in-band error; returns how many there were."""
        ...


class DrainingServer(uvicorn.Server):
    """Stops in this order, on SIGTERM.

    1. /readyz turns 503 and every response has `Connection: close`; for `drain_delay_s` seconds
       requests are served as before.
    2. No new connection is accepted. Open ones close after five seconds of silence; requests that
       still arrive on them are served.
    3. Calls and streams in flight have `drain_timeout_s` seconds; then streams end with an in-band
       error.

    SIGINT, or a second SIGTERM, skips the waits of 1 and 2; a third signal skips that of 3.
    """

    def __init__(
        self,
        application: DrainableApp,
        *,
        timeouts: ConnectionTimeouts,
        drain_delay_s: float = 1.0,
        drain_timeout_s: float = 30.0,
        backlog: int = 2048,
        on_started: Callable[[], None] = lambda: None,
        admin_server: AdminServer | None = None,
    ) -> None:
        self._admin_server = admin_server
        config = uvicorn.Config(
            application,
            http=http_protocol(timeouts, render_error),  # type: ignore[arg-type]
            limit_concurrency=max_client_connections(),
            interface="asgi3",
            lifespan="on",
            log_config=None,
            access_log=False,
            server_header=False,
            # Nothing reads the client's address; parsing forwarded ones costs each request.
            proxy_headers=False,
            backlog=backlog,
            timeout_keep_alive=_KEEP_ALIVE_S,
        )
        super().__init__(config)
        self._application = application
        self._drain_delay_s, self._drain_timeout_s = drain_delay_s, drain_timeout_s
        self._on_started = on_started
        self._stop_level = 0

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        # Unlike uvicorn's, it does not raise the signal again: after draining, the status is 0.
        self._stop_level += 2 if sig == signal.SIGINT and not self._stop_level else 1
        self.should_exit = True

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self._admin_server is not None:
            await self._admin_server.start()
        self._on_started()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        log, state = self._application.log, self.server_state
        log.info("drain.started", connections=len(state.connections), calls=len(state.tasks))
        self._application.start_draining()
        await self._wait_until(lambda: self._stop_level > 1, self._drain_delay_s)
        for server in self.servers:
            server.close()
        for sock in sockets or []:
            sock.close()
        silence_s = min(_KEEP_ALIVE_S, self._drain_timeout_s)
        waited = await self._wait_until(lambda: self._stop_level > 1 or self._is_idle(), silence_s)
        for connection in list(state.connections):
            connection.shutdown()
        await self._wait_until(
            lambda: self._stop_level > 2 or self._is_idle(), self._drain_timeout_s - waited
        )
        if cut := self._application.end_streams():
            await self._wait_until(self._is_idle, _END_STREAMS_S)
        for task in list(state.tasks):
            task.cancel()
        log.info("drain.finished", cut=cut)
        if self._admin_server is not None:
            await self._admin_server.aclose()
        await self.lifespan.shutdown()

    def _is_idle(self) -> bool:
        return not (self.server_state.connections or self.server_state.tasks)

    async def _wait_until(self, condition: Callable[[], bool], timeout_s: float) -> float:
        """Wait until `condition` holds, `timeout_s` seconds at most; returns the seconds waited."""
        loop = asyncio.get_running_loop()
        started_at = loop.time()
        while not condition() and loop.time() - started_at < timeout_s:
            self._announce_close()
            await asyncio.sleep(_POLL_INTERVAL_S)
        return loop.time() - started_at

    def _announce_close(self) -> None:
        """Let the responses to come close their connections."""
        date = (b"date", formatdate(usegmt=True).encode())
        self.server_state.default_headers = [date, (b"connection", b"close")]


def run(
    application: DrainableApp,
    sock: socket.socket,
    server: ServerConfig,
    telemetry: TelemetryConfig,
    on_started: Callable[[], None] = lambda: None,
) -> None:
    """Serve on a bound socket until SIGTERM or SIGINT."""
    redirect_stdlib_logging(application.log)

    def freeze_heap() -> None:
        # What exists now is never freed: the garbage collector need not traverse it.
        gc.freeze()
        # A call leaves few reference cycles; the default is a collection every 700 allocations.
        gc.set_threshold(_GC_THRESHOLD, 20, 20)
        gc.enable()
        on_started()

    admin_server = None
    if telemetry.admin_port is not None:
        admin_app, log = application.admin_app(), application.log
        admin_server = AdminServer(admin_app, telemetry.admin_host, telemetry.admin_port, log)
    DrainingServer(
        application,
        timeouts=ConnectionTimeouts(server.request_head_s, server.reader_stall_s),
        drain_delay_s=server.drain_delay_s,
        drain_timeout_s=server.drain_s,
        on_started=freeze_heap,
        admin_server=admin_server,
    ).run(sockets=[sock])


def startup_banner(host: str, sock: socket.socket) -> str:
    """What is printed when hamlet starts serving."""
    name = "127.0.0.1" if host in ("0.0.0.0", "::") else host  # noqa: S104
    url = f"http://{f'[{name}]' if ':' in name else name}:{sock.getsockname()[1]}"
    return (
        f"hamlet serves on {url}\n"
        f"  the page        {url}/\n"
        f"  OpenAPI         {url}/openapi.json\n"
        f"  OpenAI clients  base_url={url}/v1\n"
        f"  Anthropic       base_url={url}"
    )
