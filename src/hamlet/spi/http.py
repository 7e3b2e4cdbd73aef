"""The HTTP transport that adapters use, independent of the HTTP library."""

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
_WAIT_MIN_S, _WAIT_MAX_S = 0.05, 900.0

Classify = Callable[[int, Mapping[str, Any]], type[errors.ProviderError] | None]


class Reply(Protocol):
    """An HTTP response whose body is still arriving. Header names are lower case."""

    @property
    def status(self) -> int:
        """The status code."""
        ...

    @property
    def headers(self) -> Mapping[str, str]:
        """The header fields."""
        ...

    async def aread(self, limit: int = MAX_BODY_BYTES) -> bytes:
        """The complete body. Raises UpstreamProtocol if it is over `limit` bytes."""
        ...

    def chunks(self) -> AsyncIterator[bytes]:
        """The body as it arrives."""
        ...


class Transport(Protocol):
    """A connection pool to one upstream.

    Failures are raised as UpstreamUnavailable or UpstreamTimeout with their phase: "connect" (no
    byte was sent), "open" (no response yet), "stream" (while reading the body). Redirects are never
    followed. Leaving the context early closes the connection: at once on an exception, otherwise
    after a moment in which the response may still end.
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
        """Send a request; the reply is available as soon as its headers are.

        `path` is appended to the base URL, or is a complete URL. `json` is encoded compactly.
        """
        ...

    async def aclose(self) -> None:
        """Close the pool."""
        ...


async def raise_for_upstream(reply: Reply, classify: Classify | None = None) -> None:
    """Raise the ProviderError for a non-2xx reply; return on success.

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
    """The error for an upstream status and JSON body; also for error objects inside a stream."""
    wait = retry_after(headers)
    kind = (classify and classify(status, body)) or _error_class(status, wait, body)
    return kind(
        _error_message(kind, status, body),
        upstream_status=status,
        retry_after=wait,
        upstream_id=headers.get("x-request-id") or headers.get("request-id"),
    )


def retry_after(headers: Mapping[str, str]) -> float | None:
    """The server's wait in seconds, from `retry-after-ms` or `retry-after` (seconds or HTTP date).

    None if absent or not a finite positive number; clamped to 50 ms to 15 minutes (RFC 9110
    10.2.3): nobody keeps a promise for longer, and a probe finds out.
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
    """The positive integer in a header value; None if it is anything else."""
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
        # Relative to the server's own Date header, so that clock skew does not matter.
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
    # What stands in between, and what a deployment cannot do just now: another may.
    407: errors.UpstreamUnavailable,
    408: errors.UpstreamTimeout,
    409: errors.Conflict,
    410: errors.UpstreamUnavailable,
    413: errors.ContextTooLong,
    421: errors.UpstreamUnavailable,
    423: errors.UpstreamUnavailable,
    424: errors.UpstreamUnavailable,
    425: errors.UpstreamUnavailable,
    499: errors.UpstreamUnavailable,
    503: errors.Overloaded,
    504: errors.UpstreamTimeout,
    529: errors.Overloaded,
}
_RATE_LIMIT_MAX_WAIT_S = 60.0
# A 404 with one of these is about hamlet's configuration; "resource" is Azure's for a deployment.
_CONFIGURATION_WORDS = ("model", "deployment", "engine", "resource", "version", "route")


def _error_class(
    status: int, wait: float | None, body: Mapping[str, Any]
) -> type[errors.ProviderError]:
    if status == 429:
        quota = wait is not None and wait > _RATE_LIMIT_MAX_WAIT_S
        return errors.QuotaExhausted if quota else errors.RateLimited
    if status == 404 and _blames_request(body):
        return errors.RequestRefused
    if status == 403 and not _error_text(body):
        # No vendor's refusal of a key, but a firewall's of what the request says.
        return errors.RequestRefused
    if status in _ERROR_BY_STATUS:
        return _ERROR_BY_STATUS[status]
    if 400 <= status < 500:
        return errors.InvalidRequest
    return errors.UpstreamUnavailable if status >= 500 else errors.UpstreamProtocol


def _blames_request(body: Mapping[str, Any]) -> bool:
    """Whether a 404 is about something the request names, such as a file, and not the model."""
    text = _error_text(body).lower()
    return bool(text) and not any(word in text for word in _CONFIGURATION_WORDS)


def _error_text(body: Mapping[str, Any]) -> str:
    """Code, type and message of an error object; "" if there is none."""
    error = body.get("error")
    if not isinstance(error, dict):
        return str(error or body.get("message") or "")
    return " ".join(str(error.get(key) or "") for key in ("code", "type", "message"))


def _error_message(kind: type[errors.ProviderError], status: int, body: Mapping[str, Any]) -> str:
    # Only errors in the caller's own request are reported in the vendor's words.
    if not issubclass(kind, errors.InvalidRequest):
        return f"the upstream answered {status} ({kind.code})"
    error = body.get("error")
    text = error.get("message") if isinstance(error, dict) else error or body.get("message")
    return redact(text) if isinstance(text, str) and text else f"the upstream answered {status}"
