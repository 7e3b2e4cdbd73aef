"""Maps error codes of OpenAI and Azure to error classes, more precisely than the status does.

https://platform.openai.com/docs/guides/error-codes; docs/retries.md says what each class does.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from hamlet.core import errors
from hamlet.core.errors import ProviderError
from hamlet.spi import upstream_error

_BY_CODE: dict[str, type[ProviderError]] = {
    "insufficient_quota": errors.QuotaExhausted,
    "credit_balance_exhausted": errors.QuotaExhausted,
    "billing_hard_limit_reached": errors.QuotaExhausted,
    "organization_spend_limit_exceeded": errors.QuotaExhausted,
    "project_spend_limit_exceeded": errors.QuotaExhausted,
    "organization_usage_limit_exceeded": errors.QuotaExhausted,
    "context_length_exceeded": errors.ContextTooLong,
    "string_above_max_length": errors.ContextTooLong,
    "content_filter": errors.ContentBlocked,
    "content_policy_violation": errors.ContentBlocked,
    "ResponsibleAIPolicyViolation": errors.ContentBlocked,
    "unsupported_parameter": errors.Unsupported,
    "unsupported_value": errors.Unsupported,
    "model_not_found": errors.ModelMissing,
    "DeploymentNotFound": errors.ModelMissing,
    "server_is_overloaded": errors.Overloaded,
    "slow_down": errors.RateLimited,
    "NoCapacity": errors.Overloaded,
}
# Errors inside a stream have no status: it is derived from their type or code.
_STATUS_BY_CODE = {
    "invalid_request_error": 400,
    "authentication_error": 401,
    "permission_error": 403,
    "rate_limit_error": 429,
    "rate_limit_exceeded": 429,
    "requests": 429,
    "tokens": 429,
    "server_is_overloaded": 503,
    "overloaded_error": 503,
}


def error_class(status: int, body: Mapping[str, Any]) -> type[ProviderError] | None:
    """The class for an error body; None leaves it to the status."""
    error = body.get("error")
    if not isinstance(error, dict):
        return None
    inner = error.get("innererror")
    codes = [error.get("code"), error.get("type")]
    if isinstance(inner, dict):
        codes.append(inner.get("code"))
    for code in codes:
        if isinstance(code, str) and code in _BY_CODE:
            return _BY_CODE[code]
    if status == 429 and "high demand" in str(error.get("message")):
        return errors.Overloaded
    return None


def in_band_error(body: Mapping[str, Any]) -> ProviderError:
    """The error for an `error` object under status 200."""
    error = body.get("error")
    status = 500
    if isinstance(error, dict):
        code = error.get("code")
        if isinstance(code, int) and 400 <= code < 600:
            status = code
        else:
            status = (
                _STATUS_BY_CODE.get(str(code)) or _STATUS_BY_CODE.get(str(error.get("type"))) or 500
            )
    return upstream_error(status, body, classify=error_class)
