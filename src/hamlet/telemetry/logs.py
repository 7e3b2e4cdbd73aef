"""Structured logs: one JSON object a line, without secrets."""

from __future__ import annotations

import logging
import sys
import traceback
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, Literal, TextIO

import orjson

from hamlet.core import redact
from hamlet.spi import Log

Fields = dict[str, Any]
_LINE = orjson.OPT_UTC_Z


def make_log(
    level: str = "info",
    form: Literal["json", "console"] = "json",
    stream: TextIO | None = None,
) -> Log:
    """A logger that writes to `stream` (stderr if none). Configures nothing global.

    As JSON it also has `line`, for what is written on every call.
    """
    least: int = logging.getLevelName(level.upper())
    if form == "console":
        return _Logger(stream or sys.stderr, least, _console())
    return _JsonLogger(stream or sys.stderr, least, _json)


def adopt_stdlib(log: Log, level: str = "info") -> None:
    """Send what libraries log through the standard module to `log` too."""
    root = logging.getLogger()
    root.handlers[:] = [_Bridge(log)]
    root.setLevel(max(logging.getLevelName(level.upper()), logging.INFO))


class _Logger:
    """Writes a line an event, of those that are of at least a level."""

    def __init__(self, stream: TextIO, least: int, render: Callable[[Fields], str]) -> None:
        self._stream, self._least, self._render = stream, least, render

    def debug(self, event: str, **fields: Any) -> None:
        self._tell(logging.DEBUG, event, fields)

    def info(self, event: str, **fields: Any) -> None:
        self._tell(logging.INFO, event, fields)

    def warning(self, event: str, **fields: Any) -> None:
        self._tell(logging.WARNING, event, fields)

    def error(self, event: str, **fields: Any) -> None:
        self._tell(logging.ERROR, event, fields)

    def _tell(self, level: int, event: str, fields: Fields) -> None:
        if level < self._least:
            return
        if error := fields.pop("exc_info", None):
            fields["exception"] = _traceback(error)
        name = logging.getLevelName(level).lower()
        self._write(_redacted(fields | {"event": event, "level": name}))

    def _write(self, fields: Fields) -> None:
        fields["timestamp"] = datetime.now(UTC)
        self._stream.write(self._render(fields) + "\n")
        self._stream.flush()


class _JsonLogger(_Logger):
    def line(self, event: str, fields: Fields) -> None:
        """Write a line at level info. Its fields must be free of secrets: nothing redacts them."""
        if self._least <= logging.INFO:
            fields |= {"event": event, "level": "info"}
            self._write(fields)


class _Bridge(logging.Handler):
    def __init__(self, log: Log) -> None:
        super().__init__()
        self._log = log

    def emit(self, record: logging.LogRecord) -> None:
        tell = {logging.WARNING: self._log.warning, logging.INFO: self._log.info}.get(
            record.levelno, self._log.error
        )
        fields: Fields = {"logger": record.name}
        if record.exc_info:
            fields["exc_info"] = record.exc_info
        tell(record.getMessage(), **fields)


def _traceback(given: Any) -> str:
    """The traceback of an exception, of the standard library's triple, or of what is handled."""
    if not isinstance(given, BaseException):
        given = (given if isinstance(given, tuple) else sys.exc_info())[1]
    return "".join(traceback.format_exception(given)).rstrip("\n")


def _redacted(fields: Fields) -> Fields:
    # Tracebacks are longer than what redact keeps of other text.
    return {
        key: redact(value, 10_000) if isinstance(value, str) and key != "request_id" else value
        for key, value in fields.items()
    }


def _json(fields: Fields) -> str:
    return orjson.dumps(fields, default=str, option=_LINE).decode()


def _console() -> Callable[[Fields], str]:
    # structlog brings rich along: only who reads the console pays for that.
    from structlog.dev import ConsoleRenderer

    renderer = ConsoleRenderer()

    def render(fields: Fields) -> str:
        at = fields["timestamp"].isoformat().replace("+00:00", "Z")
        return str(renderer(None, fields["level"], fields | {"timestamp": at}))

    return render
