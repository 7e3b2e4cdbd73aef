"""hamlet's HTTP server and client without a gateway between them: the lower bound of its cost.

    python -m loadtest.bench.peers.pass_through PORT UPSTREAM

Bodies are forwarded unchanged and responses returned: no key, parsing, routing, metrics or log line.
"""

from __future__ import annotations

import sys

import uvicorn

from hamlet.api.dialects.openai.errors import render_error
from hamlet.net.client.transport import HttptoolsTransport
from hamlet.net.server.asgi import Receive, Scope, Send
from hamlet.net.server.connection import http_protocol
from hamlet.net.server.context import ConnectionTimeouts
from hamlet.spi import ProviderSettings
from loadtest.bench.gateways import KEY


class PassThroughApp:
    """An ASGI application that forwards. It expects bodies in one piece, as wrk sends them."""

    def __init__(self, upstream: str) -> None:
        settings = ProviderSettings(base_url=upstream)
        self._http = HttptoolsTransport(settings, {"authorization": f"Bearer {KEY}"})

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        message = await receive()
        async with self._http.stream("POST", scope["path"], content=message["body"]) as reply:
            body, status = await reply.aread(), reply.status
        length = str(len(body)).encode()
        headers = [(b"content-type", b"application/json"), (b"content-length", length)]
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": body})


def main(port: int, upstream: str) -> None:
    """Serve until SIGTERM."""
    uvicorn.run(
        PassThroughApp(upstream),
        port=port,
        http=http_protocol(ConnectionTimeouts(), render_error),  # type: ignore[arg-type]
        loop="uvloop",
        lifespan="off",
        access_log=False,
        log_config=None,
    )


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2])
