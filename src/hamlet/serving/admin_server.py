"""The admin port: a second, small server in the same event loop."""

from __future__ import annotations

import asyncio
import socket
from typing import Any

import uvicorn

from hamlet.serving.sockets import bind
from hamlet.spi import Log


class AdminServer(uvicorn.Server):
    """Serves `app` on its own address; the main server handles the signals.

    It stays up while the main server drains, so that draining can be observed. If the address is
    taken, as by the first of several workers, that is logged and nothing is served.
    """

    def __init__(self, app: Any, host: str, port: int, log: Log) -> None:
        super().__init__(
            uvicorn.Config(
                app,
                host,
                port,
                lifespan="off",
                log_config=None,
                access_log=False,
                server_header=False,
                timeout_graceful_shutdown=1,
            )
        )
        self._log = log
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Start serving, in the running loop."""
        try:
            sock = bind(self.config.host, self.config.port)
        except OSError:
            self._log.error("admin.not_served", host=self.config.host, port=self.config.port)
            return
        self.config.load()
        self.lifespan = self.config.lifespan_class(self.config)
        await self.startup([sock])
        self._task = asyncio.create_task(self._serve_until_exit(sock))
        self._log.info("admin.served", port=sock.getsockname()[1])

    async def _serve_until_exit(self, sock: socket.socket) -> None:
        await self.main_loop()
        await self.shutdown([sock])

    async def aclose(self) -> None:
        """Stop serving."""
        self.should_exit = True
        if self._task is not None:
            await self._task
