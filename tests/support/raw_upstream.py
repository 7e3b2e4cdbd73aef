"""An upstream that sends exactly the bytes of a script, over plain TCP or TLS."""

import asyncio
import ssl
import subprocess
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path

OK = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"

ConnectionScript = Callable[["ServerConnection", int], Awaitable[None]]


class ServerConnection:
    """The server's end of one connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    async def read_request(self) -> bytes:
        """The next request, head and body. Raises IncompleteReadError if the client disconnected."""
        head = await self.reader.readuntil(b"\r\n\r\n")
        length = 0
        for line in head.lower().split(b"\r\n"):
            if line.startswith(b"content-length:"):
                length = int(line.partition(b":")[2])
        return head + await self.reader.readexactly(length)

    async def send(self, *segments: bytes) -> None:
        """Send each segment in a packet of its own, as far as loopback allows."""
        for segment in segments:
            self.writer.write(segment)
            await self.writer.drain()
            await asyncio.sleep(0)

    def reset(self) -> None:
        self.writer.transport.abort()


class RawUpstream:
    """Runs `script(peer, n)` for the nth connection, from 1, and closes it when that returns."""

    def __init__(self, script: ConnectionScript, tls: ssl.SSLContext | None = None) -> None:
        self._script, self._tls = script, tls
        self.accepted = 0
        self.url = ""
        self._tasks: set[asyncio.Task] = set()

    async def __aenter__(self) -> "RawUpstream":
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0, ssl=self._tls)
        port = self._server.sockets[0].getsockname()[1]
        self.url = f"http://127.0.0.1:{port}" if self._tls is None else f"https://localhost:{port}"
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._server.wait_closed()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.accepted += 1
        task = asyncio.current_task()
        self._tasks.add(task)
        try:
            await self._script(ServerConnection(reader, writer), self.accepted)
        except (ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass
        finally:
            self._tasks.discard(task)
            writer.close()
            with suppress(ConnectionError, asyncio.CancelledError):
                await writer.wait_closed()


async def respond_ok_forever(peer: ServerConnection, _: int) -> None:
    """Answer every request with 200."""
    while True:
        await peer.read_request()
        await peer.send(OK)


def make_certificate(folder: Path) -> tuple[Path, Path]:
    """A key and a self-signed certificate for localhost, made with the openssl command."""
    key, cert = folder / "key.pem", folder / "cert.pem"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1",
         "-nodes", "-keyout", key, "-out", cert, "-days", "2", "-subj", "/CN=localhost",
         "-addext", "subjectAltName=DNS:localhost"],
        check=True,
        capture_output=True,
    )  # fmt: skip
    return key, cert


def server_tls_context(key: Path, cert: Path) -> ssl.SSLContext:
    """A server's TLS context with `certificate`."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(cert, key)
    return context
