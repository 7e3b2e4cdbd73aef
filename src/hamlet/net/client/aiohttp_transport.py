"""The reference transport, on aiohttp."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import orjson
from aiohttp import ClientConnectorError, ClientTimeout, TCPConnector
from aiohttp.abc import AbstractResolver, ResolveResult
from multidict import CIMultiDictProxy

from hamlet.core import errors
from hamlet.core.errors import Phase, ProviderError
from hamlet.core.trace import current_trace
from hamlet.net.client.addresses import is_forbidden_address
from hamlet.net.client.failures import connect_failure, is_local_limit
from hamlet.net.client.settings import MAX_BODY_BYTES, ClientSettings
from hamlet.net.client.tls import tls_context

_JSON = {"content-type": "application/json"}
_IDENTITY = {"accept-encoding": "identity"}
# Where one idle connection was closed others may be, and only a request shows which.
_MAX_STALE_ATTEMPTS = 16
# A stream may buffer two of these while its reader is slow.
_READ_BYTES = 8 << 10


class AiohttpTransport:
    """A pool to one upstream. The session is created on the first call, in the running loop."""

    def __init__(self, settings: ClientSettings, headers: Mapping[str, str] = {}) -> None:
        self._settings = settings
        self._base_url = settings.base_url.rstrip("/")
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
        if self._settings.traceparent and (trace := current_trace()) is not None:
            headers = {**headers, "traceparent": trace.traceparent}
        url = path if path.startswith(("http://", "https://")) else self._base_url + path
        response = await self._send(method, url, content, headers)
        try:
            yield AiohttpReply(response)
        finally:
            # Releases a fully read connection to the pool and closes any other.
            response.close() if not response.content.at_eof() else response.release()

    async def aclose(self) -> None:
        if self._session is not None:
            await self._session.close()

    async def _send(
        self, method: str, url: str, content: bytes | None, headers: Mapping[str, str]
    ) -> aiohttp.ClientResponse:
        tries = 0
        while True:
            tries += 1
            reused: list[bool] = []
            try:
                return await self._get_session().request(
                    method,
                    url,
                    data=content,
                    headers=headers,
                    allow_redirects=False,
                    trace_request_ctx=reused,
                )
            except (aiohttp.ClientError, TimeoutError, OSError) as error:
                # The upstream closed an idle connection just as we sent, and answered nothing.
                if not (reused and _is_stale_connection(error) and tries < _MAX_STALE_ATTEMPTS):
                    raise _to_provider_error(error, "open") from None

    def _get_session(self) -> aiohttp.ClientSession:
        if self._session is None:
            settings = self._settings
            self._session = aiohttp.ClientSession(
                connector=_Connector(
                    limit=settings.max_connections,
                    keepalive_timeout=settings.keepalive_s,
                    resolver=_Resolver(settings.connect_timeout_s),
                    ssl=tls_context(settings.ca_file),
                ),
                timeout=ClientTimeout(
                    sock_connect=settings.connect_timeout_s, sock_read=settings.idle_timeout_s
                ),
                headers=self._headers,
                auto_decompress=False,
                cookie_jar=aiohttp.DummyCookieJar(),
                max_line_size=64 << 10,
                max_field_size=64 << 10,
                read_bufsize=_READ_BYTES,
                trace_configs=[_reuse_trace()],
            )
        return self._session


class _Connector(TCPConnector):
    async def connect(self, *args: Any, **kwargs: Any) -> Any:
        """As TCPConnector, but never an idle connection on which unsolicited bytes arrived.

        aiohttp would take them for the response to the next request.
        """
        while True:
            connection = await super().connect(*args, **kwargs)
            if connection.protocol is None or not connection.protocol.should_close:
                return connection
            connection.close()


class _Resolver(AbstractResolver):
    def __init__(self, timeout_s: float) -> None:
        self._inner = aiohttp.ThreadedResolver()
        self._timeout_s = timeout_s

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        async with asyncio.timeout(self._timeout_s):
            found = await self._inner.resolve(host, port, family)
        allowed = [result for result in found if not is_forbidden_address(result["host"])]
        if not allowed:
            raise OSError("the name leads to an address that is no upstream's")
        return allowed

    async def close(self) -> None:
        await self._inner.close()


def _reuse_trace() -> aiohttp.TraceConfig:
    async def reused(_: Any, context: Any, __: Any) -> None:
        context.trace_request_ctx.append(True)

    trace = aiohttp.TraceConfig()
    trace.on_connection_reuseconn.append(reused)
    return trace


def _is_stale_connection(error: Exception) -> bool:
    """Whether the connection was lost before any byte of a response."""
    if isinstance(error, aiohttp.ServerDisconnectedError):
        return isinstance(error.message, str)
    return type(error) is aiohttp.ClientOSError


class AiohttpReply:
    """A response on an aiohttp connection."""

    def __init__(self, response: aiohttp.ClientResponse) -> None:
        self._response = response
        self.status = response.status
        self.headers: Mapping[str, str] = _LowerCaseHeaders(response.headers)

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
            raise _to_provider_error(error, "stream") from None


class _LowerCaseHeaders(dict[str, str]):
    def __init__(self, headers: CIMultiDictProxy[str]) -> None:
        super().__init__((name.lower(), value) for name, value in headers.items())


def _to_provider_error(error: Exception, phase: Phase) -> ProviderError:
    connecting = aiohttp.ConnectionTimeoutError, ClientConnectorError
    if is_local_limit(error) or isinstance(error, connecting):
        return connect_failure(error)
    if isinstance(error, TimeoutError):
        return errors.UpstreamTimeout("the upstream fell silent", phase=phase)
    if isinstance(error, aiohttp.ClientPayloadError):
        return errors.UpstreamUnavailable("the upstream broke off its answer", phase=phase)
    if isinstance(error, (aiohttp.ClientResponseError, ValueError)):
        return errors.UpstreamProtocol("the upstream does not speak proper HTTP", phase=phase)
    return errors.UpstreamUnavailable("the connection to the upstream was lost", phase=phase)
