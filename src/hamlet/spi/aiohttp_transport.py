"""The reference transport, on aiohttp."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import orjson
from aiohttp import ClientConnectorError, ClientTimeout, TCPConnector
from multidict import CIMultiDictProxy

from hamlet.core import errors
from hamlet.core.errors import Phase, ProviderError
from hamlet.spi.http import MAX_BODY_BYTES
from hamlet.spi.settings import ProviderSettings

_JSON = {"content-type": "application/json"}
_IDENTITY = {"accept-encoding": "identity"}


class AiohttpTransport:
    """A pool to one upstream. The session is made on the first call, inside the running loop."""

    def __init__(self, settings: ProviderSettings, headers: Mapping[str, str] = {}) -> None:
        self._settings = settings
        self._base = settings.base_url.rstrip("/")
        self._headers = {**_IDENTITY, **settings.headers, **headers}
        self._session: aiohttp.ClientSession | None = None

    @asynccontextmanager
    async def stream(
        self,
        method: str,
        path: str,
        *,
        json: Any = None,
        content: bytes | None = None,
        headers: Mapping[str, str] = {},
    ) -> AsyncIterator[AiohttpReply]:
        if json is not None:
            content = orjson.dumps(json)
        if content is not None:
            headers = {**_JSON, **headers}
        url = path if path.startswith(("http://", "https://")) else self._base + path
        request = self._open().request(
            method, url, data=content, headers=headers, allow_redirects=False
        )
        try:
            response = await request
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise _translated(error, "open") from None
        try:
            yield AiohttpReply(response)
        finally:
            # Releases a fully read connection to the pool and closes any other.
            response.close() if not response.content.at_eof() else response.release()

    async def aclose(self) -> None:
        if self._session is not None:
            await self._session.close()

    def _open(self) -> aiohttp.ClientSession:
        if self._session is None:
            settings = self._settings
            self._session = aiohttp.ClientSession(
                connector=TCPConnector(
                    limit=settings.max_connections, keepalive_timeout=settings.keepalive_s
                ),
                timeout=ClientTimeout(
                    sock_connect=settings.connect_timeout_s, sock_read=settings.idle_timeout_s
                ),
                headers=self._headers,
                auto_decompress=False,
                cookie_jar=aiohttp.DummyCookieJar(),
                max_line_size=64 << 10,
                max_field_size=64 << 10,
            )
        return self._session


class AiohttpReply:
    """An answer on an aiohttp connection."""

    def __init__(self, response: aiohttp.ClientResponse) -> None:
        self._response = response
        self.status = response.status
        self.headers: Mapping[str, str] = _LowerCase(response.headers)

    async def aread(self, limit: int = MAX_BODY_BYTES) -> bytes:
        parts, size = [], 0
        async for chunk in self.chunks():
            size += len(chunk)
            if size > limit:
                raise errors.UpstreamProtocol(f"the upstream's answer is over {limit} bytes")
            parts.append(chunk)
        return b"".join(parts)

    async def chunks(self) -> AsyncIterator[bytes]:
        if self.headers.get("content-encoding", "identity") != "identity":
            raise errors.UpstreamProtocol("the upstream compressed an answer that must not be")
        try:
            async for chunk in self._response.content.iter_any():
                yield chunk
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise _translated(error, "stream") from None


class _LowerCase(dict[str, str]):
    def __init__(self, headers: CIMultiDictProxy[str]) -> None:
        super().__init__((name.lower(), value) for name, value in headers.items())


def _translated(error: Exception, phase: Phase) -> ProviderError:
    if isinstance(error, aiohttp.ConnectionTimeoutError):
        return errors.UpstreamTimeout("connecting to the upstream took too long", phase="connect")
    if isinstance(error, TimeoutError):
        return errors.UpstreamTimeout("the upstream fell silent", phase=phase)
    if isinstance(error, ClientConnectorError):
        return errors.UpstreamUnavailable("the upstream cannot be reached", phase="connect")
    if isinstance(error, aiohttp.ClientPayloadError):
        return errors.UpstreamUnavailable("the upstream broke off its answer", phase=phase)
    if isinstance(error, (aiohttp.ClientResponseError, ValueError)):
        return errors.UpstreamProtocol("the upstream does not speak proper HTTP", phase=phase)
    return errors.UpstreamUnavailable("the connection to the upstream was lost", phase=phase)
