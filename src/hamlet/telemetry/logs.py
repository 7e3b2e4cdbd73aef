"""Structured logs: one JSON object a line, without secrets."""

from __future__ import annotations

import logging
import sys
from typing import Any, Literal, TextIO

import orjson
import structlog
from structlog.typing import EventDict, WrappedLogger

from hamlet.core import redact
from hamlet.spi import Log


def make_log(
    level: str = "info",
    form: Literal["json", "console"] = "json",
    stream: TextIO | None = None,
) -> Log:
    """A logger that writes to `stream` (stderr if none). Configures nothing global."""
    renderer: Any = structlog.dev.ConsoleRenderer() if form == "console" else _json
    log: Log = structlog.wrap_logger(
        structlog.PrintLogger(stream or sys.stderr),
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            _redacted,
            renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        context_class=dict,
    )
    return log


def adopt_stdlib(log: Log, level: str = "info") -> None:
    """Send what libraries log through the standard module to `log` too."""
    root = logging.getLogger()
    root.handlers[:] = [_Bridge(log)]
    root.setLevel(max(logging.getLevelName(level.upper()), logging.INFO))


class _Bridge(logging.Handler):
    def __init__(self, log: Log) -> None:
        super().__init__()
        self._log = log

    def emit(self, record: logging.LogRecord) -> None:
        tell = {logging.WARNING: self._log.warning, logging.INFO: self._log.info}.get(
            record.levelno, self._log.error
        )
        fields: dict[str, Any] = {"logger": record.name}
        if record.exc_info:
            fields["exc_info"] = record.exc_info
        tell(record.getMessage(), **fields)


def _redacted(_: WrappedLogger, __: str, event: EventDict) -> EventDict:
    # Tracebacks are longer than what redact keeps of other text.
    return {
        key: redact(value, 10_000) if isinstance(value, str) and key != "request_id" else value
        for key, value in event.items()
    }


def _json(_: WrappedLogger, __: str, event: EventDict) -> str:
    return orjson.dumps(event, default=str).decode()
