"""Maps Anthropic's error types to error classes, more precisely than the status does.

https://docs.anthropic.com/en/api/errors; docs/retries.md says what each class does.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from hamlet.core import errors
from hamlet.core.errors import ProviderError
from hamlet.spi import upstream_error

_BY_TYPE: dict[str, type[ProviderError]] = {
    "overloaded_error": errors.Overloaded,
    "billing_error": errors.QuotaExhausted,
    "request_too_large": errors.ContextTooLong,
    "timeout_error": errors.UpstreamTimeout,
}
# An error event inside a stream has no status: it is derived from its type.
_STATUS_BY_TYPE = {
    "invalid_request_error": 400,
    "authentication_error": 401,
    "billing_error": 402,
    "permission_error": 403,
    "not_found_error": 404,
    "request_too_large": 413,
    "rate_limit_error": 429,
    "timeout_error": 504,
    "overloaded_error": 529,
}


def error_class(status: int, body: Mapping[str, Any]) -> type[ProviderError] | None:
    """The class for an error body; None leaves it to the status."""
    error = body.get("error")
    if not isinstance(error, dict):
        return None
    details = error.get("details")
    code = details.get("error_code") if isinstance(details, dict) else None
    if code == "enforced_spend_limit_reached":
        return errors.QuotaExhausted
    message = str(error.get("message"))
    if status == 400 and "credit balance is too low" in message:
        return errors.QuotaExhausted
    if status == 400 and "prompt is too long" in message:
        return errors.ContextTooLong
    return _BY_TYPE.get(str(error.get("type")))


def in_band_error(body: Mapping[str, Any]) -> ProviderError:
    """The error for an `error` event under status 200."""
    error = body.get("error")
    kind = error.get("type") if isinstance(error, dict) else None
    return upstream_error(_STATUS_BY_TYPE.get(str(kind), 500), body, classify=error_class)
