"""The access log: one line per call."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from hamlet.core.errors import ProviderError
from hamlet.gateway import Attempt, CallRecord, Observer
from hamlet.spi import Log

# Shorter queue waits are noise and not logged.
_MIN_QUEUE_S = 0.0005


class AccessLog(Observer):
    """Logs the end of each call, and each failed attempt. Never logs message content."""

    def __init__(self, log: Log) -> None:
        self._log = log
        # Safe without redaction: all fields come from the configuration or closed sets, except the
        # request id, which is validated on arrival.
        self._write_line: Callable[[str, dict[str, Any]], object] = getattr(
            log, "line", lambda event, fields: log.info(event, **fields)
        )

    def on_attempt(self, record: CallRecord, attempt: Attempt) -> None:
        if attempt.error is None:
            return
        self._log.warning(
            "attempt.failed",
            request_id=record.request_id,
            route=record.route,
            deployment=attempt.deployment.id,
            error=attempt.error.code,
            upstream_status=attempt.error.upstream_status,
            upstream_id=attempt.error.upstream_id,
            phase=attempt.error.phase,
            trace_id=record.trace_id or None,
            way=attempt.reason,
            cause=_cause_name(attempt.error),
            duration_ms=_ms(attempt.duration_s),
        )

    def on_end(self, record: CallRecord) -> None:
        usage, error, deployment = record.usage, record.error, record.deployment
        first_s = record.first_token_s
        fields: dict[str, Any] = {
            "request_id": record.request_id,
            "operation": record.operation,
            "route": record.route,
            "caller": record.caller,
            "outcome": record.outcome,
            "attempts": record.attempts,
            "stream": record.stream,
            "fast_lane": record.native,
            "duration_ms": _ms(record.duration_s),
        }
        # Unknown fields are omitted; testing each is faster than filtering a dictionary.
        if record.trace_id:
            fields["trace_id"] = record.trace_id
        if error is not None:
            fields["error"] = error.code
        if deployment is not None:
            fields["deployment"], fields["tier"] = deployment.id, record.tier + 1
        if record.dialect is not None:
            fields["dialect"] = record.dialect
        if record.finish_reason is not None:
            fields["finish"] = record.finish_reason
        if usage.input_tokens is not None:
            fields["input_tokens"] = usage.input_tokens
        if usage.output_tokens is not None:
            fields["output_tokens"] = usage.output_tokens
        if usage.cache_read_tokens is not None:
            fields["cache_read_tokens"] = usage.cache_read_tokens
        if usage.estimated:
            fields["usage_estimated"] = True
        if first_s is not None:
            fields["first_token_ms"] = _ms(first_s)
        if record.queue_s > _MIN_QUEUE_S:
            fields["queue_ms"] = _ms(record.queue_s)
        if record.warnings:
            fields["warnings"] = len(record.warnings)
        self._write_line("call", fields)


def _ms(seconds: float) -> float:
    # round(x, 2) converts through text and takes five times as long.
    return int(seconds * 100_000 + 0.5) / 100


def _cause_name(error: ProviderError) -> str | None:
    """Why a connection could not be opened, or the exception beneath the error."""
    return error.cause or (type(error.__cause__).__name__ if error.__cause__ else None)
