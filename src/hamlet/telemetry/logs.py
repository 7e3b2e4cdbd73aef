"""Structured logs: one JSON object per line, with secrets redacted."""

from __future__ import annotations

import logging
import sys
from datetime import UTC, datetime
from typing import Any, Literal, TextIO

import orjson
import structlog
from structlog.typing import EventDict, WrappedLogger

from hamlet.core import redact
from hamlet.spi import Log

# Validated on arrival. A trace id is as long and random as a key, so redaction would remove it.
_UNREDACTED_FIELDS = {"request_id", "trace_id"}
JSON_LINE_OPTIONS = orjson.OPT_APPEND_NEWLINE | orjson.OPT_UTC_Z
"""orjson options of one record per line, with UTC times ending in Z."""


def make_log(
    level: str = "info",
    output_format: Literal["json", "console"] = "json",
    stream: TextIO | None = None,
) -> Log:
    """A logger that writes to `stream`, or to stderr. Changes no global configuration.

    The JSON logger also has `line(event, fields)`, a fast path for the access log.
    """
    renderer: Any = structlog.dev.ConsoleRenderer() if output_format == "console" else _render_json
    target = stream or sys.stderr
    bound: Any = structlog.make_filtering_bound_logger(level)
    if output_format == "json":
        is_below_info = logging.getLevelName(level.upper()) > logging.INFO
        line = staticmethod(_discard if is_below_info else _FastLineWriter(target))
        bound = type("Log", (bound,), {"line": line})
    log: Log = structlog.wrap_logger(
        structlog.PrintLogger(target),
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            _redact_event,
            renderer,
        ],
        wrapper_class=bound,
        context_class=dict,
    )
    return log


def redirect_stdlib_logging(log: Log, level: str = "info") -> None:
    """Send the records of the standard `logging` module to `log`."""
    root = logging.getLogger()
    root.handlers[:] = [_StdlibHandler(log)]
    root.setLevel(max(logging.getLevelName(level.upper()), logging.INFO))


class _FastLineWriter:
    """Writes an info line without structlog's processors, which take ten times as long.

    The fields must not contain secrets: they are not redacted.
    """

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def __call__(self, event: str, fields: dict[str, Any]) -> None:
        fields |= {"event": event, "level": "info", "timestamp": datetime.now(UTC)}
        self._stream.write(orjson.dumps(fields, option=JSON_LINE_OPTIONS).decode())
        self._stream.flush()


def _discard(event: str, fields: dict[str, Any]) -> None:
    return


class _StdlibHandler(logging.Handler):
    def __init__(self, log: Log) -> None:
        super().__init__()
        self._log = log

    def emit(self, record: logging.LogRecord) -> None:
        log_method = {logging.WARNING: self._log.warning, logging.INFO: self._log.info}.get(
            record.levelno, self._log.error
        )
        fields: dict[str, Any] = {"logger": record.name}
        if record.exc_info:
            fields["exc_info"] = record.exc_info
        log_method(record.getMessage(), **fields)


def _redact_event(_: WrappedLogger, __: str, event: EventDict) -> EventDict:
    # Tracebacks exceed the default length limit of `redact`.
    return {
        key: redact(value, 10_000)
        if isinstance(value, str) and key not in _UNREDACTED_FIELDS
        else value
        for key, value in event.items()
    }


def _render_json(_: WrappedLogger, __: str, event: EventDict) -> str:
    return orjson.dumps(event, default=str).decode()
