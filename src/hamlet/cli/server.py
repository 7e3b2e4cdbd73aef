"""uvicorn, the way hamlet runs it."""

from __future__ import annotations

import math
import socket

import uvicorn

from hamlet.api.connection import Patience, guarded, most_connections
from hamlet.app import Hamlet
from hamlet.config import ServerConfig
from hamlet.telemetry import adopt_stdlib


def run(application: Hamlet, host: str, port: int, server: ServerConfig) -> None:
    """Serve on an address until SIGTERM or SIGINT."""
    adopt_stdlib(application.log)
    config = uvicorn.Config(
        application,
        host=host,
        port=port,
        http=guarded(Patience(server.request_head_s, server.reader_stall_s)),  # type: ignore[arg-type]
        limit_concurrency=most_connections(),
        lifespan="on",
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=math.ceil(server.drain_s),
    )
    sock = config.bind_socket()
    print(_greeting(host, sock), flush=True)
    uvicorn.Server(config).run(sockets=[sock])


def _greeting(host: str, sock: socket.socket) -> str:
    name = "127.0.0.1" if host in ("0.0.0.0", "::") else host  # noqa: S104
    url = f"http://{f'[{name}]' if ':' in name else name}:{sock.getsockname()[1]}"
    return (
        f"hamlet serves on {url}\n"
        f"  the page        {url}/\n"
        f"  OpenAPI         {url}/openapi.json\n"
        f"  OpenAI clients  base_url={url}/v1\n"
        f"  Anthropic       base_url={url}"
    )
