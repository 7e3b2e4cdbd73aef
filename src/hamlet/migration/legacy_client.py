"""A pooled HTTP client for hamlet1 that passes headers and bodies through unchanged.

The providers' transport cannot do this: it sets headers of its own (identity encoding, JSON), where
a proxy must forward whatever it gets.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass

import aiohttp
from yarl import URL

from hamlet.config.cutover import CutoverConfig
from hamlet.migration.captured_response import Headers

# https://www.rfc-editor.org/rfc/rfc9110#section-7.6.1
HOP_BY_HOP = frozenset(
    (
        b"connection",
        b"keep-alive",
        b"proxy-authenticate",
        b"proxy-authorization",
        b"proxy-connection",
        b"te",
        b"trailer",
        b"transfer-encoding",
        b"upgrade",
    )
)
# Addressed to hamlet; the server has already acted on `expect`.
_HAMLET_HEADERS = frozenset((b"expect", b"x-hamlet-arm", b"x-hamlet-tester", b"x-hamlet-probe"))
_SUPPRESSED_HEADERS = ("accept", "accept-encoding", "user-agent", "content-type")


class LegacyError(Exception):
    """hamlet1 did not respond, or broke off; `response_started` tells which."""

    def __init__(self, message: str, *, response_started: bool) -> None:
        super().__init__(message)
        self.response_started = response_started


@dataclass(slots=True)
class LegacyResponse:
    """A response whose body is still being received."""

    status: int
    headers: Headers
    chunks: AsyncIterator[bytes]


class LegacyClient:
    """The client. Its session is created at the first call, inside the running event loop."""

    def __init__(self, config: CutoverConfig) -> None:
        self._base_url = config.legacy_url
        self._config = config
        self._session: aiohttp.ClientSession | None = None

    @asynccontextmanager
    async def stream(
        self,
        method: str,
        target: str,
        headers: Iterable[tuple[bytes, bytes]],
        body: bytes | AsyncIterator[bytes] | None,
    ) -> AsyncIterator[LegacyResponse]:
        """Send a request; `target` is the raw path with its query. Raises LegacyError."""
        sent = [
            (_decode_header(name), _decode_header(value))
            for name, value in headers
            if name not in HOP_BY_HOP and name not in _HAMLET_HEADERS
        ]
        url = URL(self._base_url + target, encoded=True)
        try:
            response = await self._get_session().request(
                method, url, headers=sent, data=body or None, allow_redirects=False
            )
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise LegacyError(type(error).__name__, response_started=False) from None
        kept = [(k.lower(), v) for k, v in response.raw_headers if k.lower() not in HOP_BY_HOP]
        try:
            yield LegacyResponse(response.status, kept, _iter_chunks(response))
        finally:
            # Releases a fully read connection to the pool and closes any other.
            response.close() if not response.content.at_eof() else response.release()

    async def aclose(self) -> None:
        """Close the pool."""
        if self._session is not None:
            await self._session.close()

    def _get_session(self) -> aiohttp.ClientSession:
        if self._session is None:
            config = self._config
            self._session = aiohttp.ClientSession(
                # Shorter than hamlet1's own keep-alive timeout (Node's default: 5 s).
                connector=aiohttp.TCPConnector(
                    limit=0, keepalive_timeout=config.legacy_keepalive_s
                ),
                timeout=aiohttp.ClientTimeout(sock_connect=5.0, sock_read=config.legacy_timeout_s),
                auto_decompress=False,
                skip_auto_headers=_SUPPRESSED_HEADERS,
                cookie_jar=aiohttp.DummyCookieJar(),
                max_line_size=64 << 10,
                max_field_size=64 << 10,
            )
        return self._session


async def _iter_chunks(response: aiohttp.ClientResponse) -> AsyncIterator[bytes]:
    try:
        async for chunk in response.content.iter_any():
            yield chunk
    except (aiohttp.ClientError, TimeoutError, OSError) as error:
        raise LegacyError(type(error).__name__, response_started=True) from None


def _decode_header(raw: bytes) -> str:
    # aiohttp encodes headers as UTF-8; other bytes survive only as Latin-1.
    try:
        return raw.decode()
    except UnicodeDecodeError:
        return raw.decode("latin-1")
