"""The transport seam: how adapters reach a vendor, without knowing the HTTP library."""

from __future__ import annotations

import json as jsonlib
import math
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager
from email.utils import parsedate_to_datetime
from typing import Any, Protocol

from hamlet.core import errors, redact
from hamlet.net.client.settings import MAX_BODY_BYTES

_MAX_ERROR_BODY_BYTES = 256 << 10
_WAIT_MIN_S, _WAIT_MAX_S = 0.05, 86_400.0

Classify = Callable[[int, Mapping[str, Any]], type[errors.ProviderError] | None]


class Reply(Protocol):
    """An HTTP answer whose body is still on its way. Header names are lower case."""

    @property
    def status(self) -> int:
        """The status code."""
        ...

    @property
    def headers(self) -> Mapping[str, str]:
        """The fields of the head."""
        ...

    async def aread(self, limit: int = MAX_BODY_BYTES) -> bytes:
        """The whole body; UpstreamProtocol if it is over `limit` bytes."""
        ...

    def chunks(self) -> AsyncIterator[bytes]:
        """The body as it arrives."""
        ...


class Transport(Protocol):
    """A connection pool to one upstream.

    Failures are raised as UpstreamUnavailable or UpstreamTimeout with their phase: "connect" (no
    byte was sent), "open" (no answer yet), "stream" (while reading the body). Redirects are never
    followed. Leaving the context early closes the connection: at once by an exception, else within
    a moment in which the answer may still end.
    """

    def stream(
        self,
        method: str,
        path: str,
        *,
        json: Any = None,
        content: bytes | None = None,
        headers: Mapping[str, str] = {},
    ) -> AbstractAsyncContextManager[Reply]:
        """Send a request and give its reply as soon as the headers are there.

        `path` is appended to the base URL, or is a whole URL. `json` is encoded compactly.
        """
        ...

    async def aclose(self) -> None:
        """Close the pool."""
        ...


async def raise_for_upstream(reply: Reply, classify: Classify | None = None) -> None:
    """Raise the ProviderError that a non-2xx reply means; return on success.

    `classify(status, body)` gets the decoded JSON object ({} if there is none) and may name a more
    precise class than the status does.
    """
    if 200 <= reply.status < 300:
        return
    raw = await reply.aread(_MAX_ERROR_BODY_BYTES)
    body = _json_object(raw)
    raise upstream_error(reply.status, body, reply.headers, classify)


def upstream_error(
    status: int,
    body: Mapping[str, Any],
    headers: Mapping[str, str] = {},
    classify: Classify | None = None,
) -> errors.ProviderError:
    """The error an upstream status and JSON body mean; also for error objects inside a stream."""
    wait = retry_after(headers)
    kind = (classify and classify(status, body)) or _error_class(status, wait)
    return kind(
        _error_message(kind, status, body),
        upstream_status=status,
        retry_after=wait,
        upstream_id=headers.get("x-request-id") or headers.get("request-id"),
    )


def retry_after(headers: Mapping[str, str]) -> float | None:
    """The server's wait in seconds, from `retry-after-ms` or `retry-after` (seconds or HTTP date).

    None when absent or not a finite positive number; held within 50 ms and 24 h (RFC 9110 10.2.3).
    """
    wait = _finite_float(headers.get("retry-after-ms"))
    if wait is not None:
        wait /= 1000
    elif value := headers.get("retry-after"):
        wait = _finite_float(value)
        if wait is None:
            wait = _seconds_until(value, headers.get("date"))
    if wait is None or wait < 0:
        return None
    return min(max(wait, _WAIT_MIN_S), _WAIT_MAX_S)


def parse_positive_int(value: str | None) -> int | None:
    """The positive whole number that a header tells, if it tells one."""
    if not value or not (value.isascii() and value.isdigit()) or len(value) > 15:
        return None
    return int(value) or None


def _finite_float(value: str | None) -> float | None:
    try:
        number = float(value) if value else math.nan
    except ValueError:
        return None
    return number if math.isfinite(number) else None


def _seconds_until(date: str, now: str | None) -> float | None:
    try:
        then = parsedate_to_datetime(date)
        # The server's own Date header, so that our clock does not matter.
        return (then - parsedate_to_datetime(now or "")).total_seconds()
    except (ValueError, TypeError):
        return None


def _json_object(raw: bytes) -> dict[str, Any]:
    try:
        body = jsonlib.loads(raw)
    except (ValueError, RecursionError):
        return {}
    return body if isinstance(body, dict) else {}


_ERROR_BY_STATUS: Mapping[int, type[errors.ProviderError]] = {
    401: errors.UpstreamAuth,
    402: errors.QuotaExhausted,
    403: errors.UpstreamAuth,
    404: errors.ModelMissing,
    408: errors.UpstreamTimeout,
    409: errors.Conflict,
    413: errors.ContextTooLong,
    499: errors.UpstreamUnavailable,
    503: errors.Overloaded,
    504: errors.UpstreamTimeout,
    529: errors.Overloaded,
}
_RATE_LIMIT_MAX_WAIT_S = 60.0


def _error_class(status: int, wait: float | None) -> type[errors.ProviderError]:
    if status == 429:
        quota = wait is not None and wait > _RATE_LIMIT_MAX_WAIT_S
        return errors.QuotaExhausted if quota else errors.RateLimited
    if status in _ERROR_BY_STATUS:
        return _ERROR_BY_STATUS[status]
    if 400 <= status < 500:
        return errors.InvalidRequest
    return errors.UpstreamUnavailable if status >= 500 else errors.UpstreamProtocol


def _error_message(kind: type[errors.ProviderError], status: int, body: Mapping[str, Any]) -> str:
    # Only a fault of the caller's own request is told in the vendor's words.
    if not issubclass(kind, errors.InvalidRequest):
        return f"the upstream answered {status} ({kind.code})"
    error = body.get("error")
    text = error.get("message") if isinstance(error, dict) else error or body.get("message")
    return redact(text) if isinstance(text, str) and text else f"the upstream answered {status}"
