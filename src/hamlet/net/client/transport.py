"""The default transport, on our own connections: builds requests, retries stale ones once."""

from __future__ import annotations

import base64
import re
from collections.abc import AsyncIterator, Awaitable, Mapping
from functools import lru_cache, reduce
from types import TracebackType
from typing import Any
from urllib.parse import quote, unquote, urlsplit

import orjson

from hamlet.core import errors
from hamlet.core.trace import current_trace
from hamlet.net.client.connection import Connection
from hamlet.net.client.dial import Origin
from hamlet.net.client.pool import ConnectionPool, PoolStats
from hamlet.net.client.settings import MAX_BODY_BYTES, ClientSettings
from hamlet.net.client.tls import tls_context

_UNSAFE_TARGET = re.compile(r"[^\x21-\x7e]|#.*", re.DOTALL)
_HEADER_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+\Z")
_HEADER_VALUE = re.compile(r"[^\r\n\0]*\Z")
_DEFAULT_HEADERS = {"accept": "*/*", "accept-encoding": "identity", "user-agent": "hamlet"}
_BODY_METHODS = ("POST", "PUT", "PATCH")


class HttptoolsTransport:
    """Connection pools to the origins of one provider, nearly always a single one."""

    def __init__(self, settings: ClientSettings, headers: Mapping[str, str] = {}) -> None:
        """Opens nothing. Raises ValueError for a header that cannot be sent."""
        self._settings = settings
        given = _lower_names(settings.headers) | _lower_names(headers)
        self._headers = _DEFAULT_HEADERS | given
        self._constant_headers = _header_lines(self._headers)
        self._constant_json_headers = _header_lines(
            {**self._headers, "content-type": "application/json"}
        )
        self._resolved_base: _ResolvedUrl | None = None
        self._pools: dict[tuple[str, int, bool], ConnectionPool] = {}

    def stream(
        self,
        method: str,
        path: str,
        *,
        json: Any = None,
        content: bytes | None = None,
        headers: Mapping[str, str] = {},
    ) -> ClientExchange:
        if json is not None:
            content = orjson.dumps(json)
        pool, head = self._build_request(method, path, content, headers)
        return ClientExchange(pool, head, content or b"", no_body=method == "HEAD")

    async def warm(self) -> None:
        """Open `prewarm` connections to the base URL. Failures are left to the first call."""
        if self._settings.prewarm:
            await self._resolve_url("").pool.warm(self._settings.prewarm)

    async def aclose(self) -> None:
        for pool in self._pools.values():
            pool.close()

    def pool_stats(self) -> PoolStats:
        """The connections to all origins together."""
        return reduce(PoolStats.plus, (pool.stats() for pool in self._pools.values()), PoolStats())

    def _build_request(
        self, method: str, path: str, content: bytes | None, headers: Mapping[str, str]
    ) -> tuple[ConnectionPool, bytes]:
        """The pool to use and the head of the request. Raises UpstreamProtocol, ValueError."""
        is_absolute = path.startswith(("http://", "https://"))
        resolved = (
            self._resolve_url(path) if is_absolute else self._resolved_base or self._resolve_url("")
        )
        target = _request_target(resolved.path if is_absolute else resolved.path + path)
        has_type = content is not None
        if self._settings.traceparent and (trace := current_trace()) is not None:
            headers = {**headers, "traceparent": trace.traceparent}
        if not headers:
            constant = self._constant_json_headers if has_type else self._constant_headers
        else:
            content_type = {"content-type": "application/json"} if has_type else {}
            constant = _header_lines(self._headers | content_type | _lower_names(headers))
        length = ""
        if has_type or method in _BODY_METHODS:
            length = f"content-length: {len(content or b'')}\r\n"
        head = f"{method} {target} HTTP/1.1\r\n{resolved.header_lines}{length}{constant}\r\n"
        return resolved.pool, head.encode("latin-1")

    def _resolve_url(self, url: str) -> _ResolvedUrl:
        resolved = self._parse_url(url or self._settings.base_url.rstrip("/"))
        if not url:
            self._resolved_base = resolved
        return resolved

    def _parse_url(self, url: str) -> _ResolvedUrl:
        try:
            parts = urlsplit(url)
            secure = parts.scheme == "https"
            port = parts.port or (443 if secure else 80)
            if parts.scheme not in ("http", "https") or not parts.hostname:
                raise ValueError(url)
        except ValueError:
            raise errors.UpstreamProtocol("the URL is not one of http", phase="connect") from None
        key = (parts.hostname, port, secure)
        if key not in self._pools:
            tls = tls_context(self._settings.ca_file) if secure else None
            self._pools[key] = ConnectionPool(Origin(parts.hostname, port, tls), self._settings)
        lines = f"host: {parts.netloc.rpartition('@')[2]}\r\n"
        if parts.username is not None:
            pair = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
            lines += f"authorization: Basic {base64.b64encode(pair.encode()).decode()}\r\n"
        path = parts.path + (f"?{parts.query}" if parts.query else "")
        return _ResolvedUrl(self._pools[key], lines, path)


class _ResolvedUrl:
    """A resolved URL: its pool, the header lines that follow from it, and its path."""

    __slots__ = ("header_lines", "path", "pool")

    def __init__(self, pool: ConnectionPool, header_lines: str, path: str) -> None:
        self.pool, self.header_lines, self.path = pool, header_lines, path


class ClientExchange:
    """One request and its response: the context manager, and the Reply it returns.

    With `no_body` the response has none, whatever its headers say.
    """

    __slots__ = (
        "_body",
        "_connection",
        "_head",
        "_headers",
        "_no_body",
        "_pool",
        "_raw_headers",
        "status",
    )

    def __init__(self, pool: ConnectionPool, head: bytes, body: bytes, *, no_body: bool) -> None:
        self._pool, self._head, self._body, self._no_body = pool, head, body, no_body
        self._raw_headers: list[tuple[bytes, bytes]] = []
        self._headers: Mapping[str, str] | None = None
        self._connection: Connection | None = None
        self.status = 0

    async def __aenter__(self) -> ClientExchange:
        head, body = self._head, self._body
        # Once sent it is not needed: a stream must not hold its prompt in memory.
        self._head = self._body = b""
        connection = await self._pool.acquire()
        try:
            await connection.send_request(head, body, no_body=self._no_body)
        except errors.UpstreamUnavailable:
            # The upstream closed it just as we sent and answered nothing, so this was no attempt.
            if not connection.was_stale:
                raise
            connection = await self._pool.acquire(fresh=True)
            await connection.send_request(head, body, no_body=self._no_body)
        self._connection = connection
        self.status, self._raw_headers = connection.response.status, connection.response.fields
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        # Later reads must not get another exchange's response.
        connection, self._connection = self._connection, None
        assert connection is not None, "the exchange was entered"
        if kind is None or connection.response.complete:
            connection.finish()
        else:
            connection.abort()

    @property
    def headers(self) -> Mapping[str, str]:
        """By lower-case name; of duplicates, the last. Decoded on first use."""
        if self._headers is None:
            self._headers = {
                name.lower().decode("latin-1"): value.strip().decode("utf-8", "surrogateescape")
                for name, value in self._raw_headers
            }
        return self._headers

    async def aread(self, limit: int = MAX_BODY_BYTES) -> bytes:
        connection = self._identity_connection()
        # Nearly always all of it has arrived already.
        if (body := connection.body_if_complete(limit)) is not None:
            return body
        parts, size = [], 0
        try:
            while not connection.is_exhausted:
                data = await connection.next_chunk()
                size += len(data)
                if size > limit:
                    raise errors.UpstreamProtocol(f"the upstream's answer is over {limit} bytes")
                parts.append(data)
        except StopAsyncIteration:
            # The last read brought only the end of the response.
            pass
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def chunks(self) -> AsyncIterator[bytes]:
        self._identity_connection()
        return _Chunks(self)

    def _identity_connection(self) -> Connection:
        """The connection, if the body is not encoded. Raises UpstreamProtocol."""
        connection = self.connection
        if connection.response.encoding not in (b"", b"identity"):
            raise errors.UpstreamProtocol("the upstream compressed an answer that must not be")
        return connection

    @property
    def connection(self) -> Connection:
        """The connection. Raises RuntimeError outside the context."""
        if self._connection is None:
            raise RuntimeError("a response can only be read inside its context")
        return self._connection


class _Chunks:
    """An iterator rather than a generator, which the loop would track at a higher cost."""

    __slots__ = ("_exchange",)

    def __init__(self, exchange: ClientExchange) -> None:
        self._exchange = exchange

    def __aiter__(self) -> _Chunks:
        return self

    def __anext__(self) -> Awaitable[bytes]:
        return self._exchange.connection.next_chunk()


@lru_cache(maxsize=256)
def _request_target(path: str) -> str:
    """A path as a request target. Cached: a provider has few."""
    if _UNSAFE_TARGET.search(path):
        path = quote(path.partition("#")[0], safe="!$%&'()*+,/:;=?@[]~")
    return path or "/"


def _lower_names(headers: Mapping[str, str]) -> dict[str, str]:
    return {name.lower(): value for name, value in headers.items()}


def _header_lines(headers: Mapping[str, str]) -> str:
    for name, value in headers.items():
        if not _HEADER_NAME.match(name) or not _HEADER_VALUE.match(value):
            raise ValueError(f"the header {name!r} cannot be sent")
    return "".join(f"{name}: {value}\r\n" for name, value in headers.items())
