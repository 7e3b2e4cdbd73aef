"""One log line per call."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from hamlet.gateway import Attempt, Record
from hamlet.spi import Log


class AccessLog:
    """Writes each call's end, and each failed attempt. Never what was said."""

    def __init__(self, log: Log) -> None:
        self._log = log
        # All fields come from the configuration or closed sets, but the tidy request id.
        self._line: Callable[[str, dict[str, Any]], object] = getattr(
            log, "line", lambda event, fields: log.info(event, **fields)
        )

    def on_start(self, record: Record) -> None:
        return

    def on_attempt(self, record: Record, attempt: Attempt) -> None:
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
            way=attempt.way,
            cause=_cause(attempt.error),
            duration_ms=_ms(attempt.duration_s),
        )

    def on_end(self, record: Record) -> None:
        usage, error, deployment = record.usage, record.error, record.deployment
        fields: dict[str, Any] = {
            "request_id": record.request_id,
            "trace_id": record.trace_id or None,
            "operation": record.operation,
            "route": record.route,
            "caller": record.caller,
            "outcome": record.outcome,
            "error": error.code if error else None,
            "deployment": deployment.id if deployment else None,
            "attempts": record.attempts,
            "stream": record.stream,
            "dialect": record.dialect,
            "fast_lane": record.native,
            "finish": record.finish,
            "input_tokens": usage.input_tokens,
            "output_tokens": usage.output_tokens,
            "cache_read_tokens": usage.cache_read_tokens,
            "first_token_ms": _ms(record.first_token_s),
            "duration_ms": _ms(record.duration_s),
            "queue_ms": _ms(record.queue_s) or None,
            "tier": record.tier + 1 if record.deployment else None,
            "usage_estimated": usage.estimated or None,
            "warnings": len(record.warnings) or None,
        }
        self._line("call", {k: v for k, v in fields.items() if v is not None})


def _ms(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds * 1000, 2)


def _cause(error: BaseException) -> str | None:
    return type(error.__cause__).__name__ if error.__cause__ else None
