"""The transport seam on our own connections: builds requests, retries stale connections once."""

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
from hamlet.net.client.pool import Levels, Pool
from hamlet.net.client.settings import MAX_BODY_BYTES, ClientSettings
from hamlet.net.client.tls import tls_context

_UNSAFE_TARGET = re.compile(r"[^\x21-\x7e]|#.*", re.DOTALL)
_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+\Z")
_VALUE = re.compile(r"[^\r\n\0]*\Z")
_IDENTITY = {"accept": "*/*", "accept-encoding": "identity", "user-agent": "hamlet"}
_BODY_METHODS = ("POST", "PUT", "PATCH")


class HttptoolsTransport:
    """Pools to the origins of one provider; nearly always that is one."""

    def __init__(self, settings: ClientSettings, headers: Mapping[str, str] = {}) -> None:
        """Opens nothing. Raises ValueError for a header that cannot be sent."""
        self._settings = settings
        given = _lower(settings.headers) | _lower(headers)
        self._headers = _IDENTITY | given
        self._constant = _lines(self._headers)
        self._constant_json = _lines({**self._headers, "content-type": "application/json"})
        self._base: _Site | None = None
        self._pools: dict[tuple[str, int, bool], Pool] = {}

    def stream(
        self,
        method: str,
        path: str,
        *,
        json: Any = None,
        content: bytes | None = None,
        headers: Mapping[str, str] = {},
    ) -> Exchange:
        if json is not None:
            content = orjson.dumps(json)
        pool, head = self._request(method, path, content, headers)
        return Exchange(pool, head, content or b"", bare=method == "HEAD")

    async def warm(self) -> None:
        """Open `prewarm` connections to the base URL. Failures are left to the first call."""
        if self._settings.prewarm:
            await self._site("").pool.warm(self._settings.prewarm)

    async def aclose(self) -> None:
        for pool in self._pools.values():
            pool.close()

    def levels(self) -> Levels:
        """The connections to all its origins."""
        return reduce(Levels.plus, (pool.levels() for pool in self._pools.values()), Levels())

    def _request(
        self, method: str, path: str, content: bytes | None, headers: Mapping[str, str]
    ) -> tuple[Pool, bytes]:
        """The pool to ask and the head of the request. Raises UpstreamProtocol, ValueError."""
        whole = path.startswith(("http://", "https://"))
        site = self._site(path) if whole else self._base or self._site("")
        target = _target(site.path if whole else site.path + path)
        has_type = content is not None
        if self._settings.traceparent and (trace := current_trace()) is not None:
            headers = {**headers, "traceparent": trace.header}
        if not headers:
            constant = self._constant_json if has_type else self._constant
        else:
            more = {"content-type": "application/json"} if has_type else {}
            constant = _lines(self._headers | more | _lower(headers))
        length = ""
        if has_type or method in _BODY_METHODS:
            length = f"content-length: {len(content or b'')}\r\n"
        head = f"{method} {target} HTTP/1.1\r\n{site.lines}{length}{constant}\r\n"
        return site.pool, head.encode("latin-1")

    def _site(self, url: str) -> _Site:
        site = self._resolve(url or self._settings.base_url.rstrip("/"))
        if not url:
            self._base = site
        return site

    def _resolve(self, url: str) -> _Site:
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
            self._pools[key] = Pool(Origin(parts.hostname, port, tls), self._settings)
        lines = f"host: {parts.netloc.rpartition('@')[2]}\r\n"
        if parts.username is not None:
            pair = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
            lines += f"authorization: Basic {base64.b64encode(pair.encode()).decode()}\r\n"
        path = parts.path + (f"?{parts.query}" if parts.query else "")
        return _Site(self._pools[key], lines, path)


class _Site:
    """A resolved URL: its pool, the header lines that come of it, and its path."""

    __slots__ = ("lines", "path", "pool")

    def __init__(self, pool: Pool, lines: str, path: str) -> None:
        self.pool, self.lines, self.path = pool, lines, path


class Exchange:
    """One request and its answer: the context manager, and the Reply it gives.

    A `bare` answer has no body, whatever its headers say.
    """

    __slots__ = ("_bare", "_body", "_connection", "_head", "_headers", "_pool", "_raw", "status")

    def __init__(self, pool: Pool, head: bytes, body: bytes, *, bare: bool) -> None:
        self._pool, self._head, self._body, self._bare = pool, head, body, bare
        self._raw: list[tuple[bytes, bytes]] = []
        self._headers: Mapping[str, str] | None = None
        self._connection: Connection | None = None
        self.status = 0

    async def __aenter__(self) -> Exchange:
        head, body = self._head, self._body
        # Sent is sent: a stream must not keep its prompt.
        self._head = self._body = b""
        connection = await self._pool.acquire()
        try:
            await connection.ask(head, body, bare=self._bare)
        except errors.UpstreamUnavailable:
            # The upstream closed it just as we sent: no byte came, so this was no attempt.
            if not connection.was_stale:
                raise
            connection = await self._pool.acquire(fresh=True)
            await connection.ask(head, body, bare=self._bare)
        self._connection = connection
        self.status, self._raw = connection.answer.status, connection.answer.fields
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        # What is read after this must not be another exchange's answer.
        connection, self._connection = self._connection, None
        assert connection is not None, "what is left was entered"
        if kind is None or connection.answer.complete:
            connection.finish()
        else:
            connection.abort()

    @property
    def headers(self) -> Mapping[str, str]:
        """By lower-case name; of several alike, the last. Decoded when first asked for."""
        if self._headers is None:
            self._headers = {
                name.lower().decode("latin-1"): value.strip().decode("utf-8", "surrogateescape")
                for name, value in self._raw
            }
        return self._headers

    async def aread(self, limit: int = MAX_BODY_BYTES) -> bytes:
        connection = self._plain()
        # Nearly always all of it is here already.
        if (whole := connection.whole(limit)) is not None:
            return whole
        parts, size = [], 0
        try:
            while not connection.is_read:
                data = await connection.next()
                size += len(data)
                if size > limit:
                    raise errors.UpstreamProtocol(f"the upstream's answer is over {limit} bytes")
                parts.append(data)
        except StopAsyncIteration:
            # What came last was its end alone.
            pass
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def chunks(self) -> AsyncIterator[bytes]:
        self._plain()
        return _Chunks(self)

    def _plain(self) -> Connection:
        """The connection, if what comes over it is the body itself."""
        connection = self.connection
        if connection.answer.encoding not in (b"", b"identity"):
            raise errors.UpstreamProtocol("the upstream compressed an answer that must not be")
        return connection

    @property
    def connection(self) -> Connection:
        """The connection. Raises RuntimeError outside the context."""
        if self._connection is None:
            raise RuntimeError("an answer can be read inside its context alone")
        return self._connection


class _Chunks:
    """An iterator, not a generator: those are tracked by the loop, which costs more than this."""

    __slots__ = ("_exchange",)

    def __init__(self, exchange: Exchange) -> None:
        self._exchange = exchange

    def __aiter__(self) -> _Chunks:
        return self

    def __anext__(self) -> Awaitable[bytes]:
        return self._exchange.connection.next()


@lru_cache(maxsize=256)
def _target(path: str) -> str:
    """A path as it stands in a request. A provider has few."""
    if _UNSAFE_TARGET.search(path):
        path = quote(path.partition("#")[0], safe="!$%&'()*+,/:;=?@[]~")
    return path or "/"


def _lower(headers: Mapping[str, str]) -> dict[str, str]:
    return {name.lower(): value for name, value in headers.items()}


def _lines(headers: Mapping[str, str]) -> str:
    for name, value in headers.items():
        if not _NAME.match(name) or not _VALUE.match(value):
            raise ValueError(f"the header {name!r} cannot be sent")
    return "".join(f"{name}: {value}\r\n" for name, value in headers.items())
