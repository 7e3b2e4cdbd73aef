"""The billing record: one line per call that used anything, as a stream of its own."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import IO, TextIO, cast

import orjson

from hamlet.gateway import CallRecord, Observer
from hamlet.telemetry.background_writer import BackgroundWriter
from hamlet.telemetry.metrics import cost_usd

_JSON_OPTIONS = orjson.OPT_APPEND_NEWLINE | orjson.OPT_UTC_Z


class UsageLog(Observer):
    """Appends to a file, in a thread. Names the caller's key, never what was said."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._writer: BackgroundWriter | None = None

    @property
    def dropped(self) -> int:
        """Lines that could not be written, or came while the disk was far behind."""
        return self._writer.dropped if self._writer is not None else 0

    def on_end(self, record: CallRecord) -> None:
        usage, deployment = record.usage, record.deployment
        if deployment is None or usage.input_tokens is None:
            return
        fields = {
            "timestamp": datetime.now(UTC),
            "request_id": record.request_id,
            "trace_id": record.trace_id or None,
            "caller": record.caller,
            "route": record.route,
            "deployment": deployment.id,
            "model": deployment.model,
            "outcome": record.outcome,
            "input": usage.input_tokens,
            "output": usage.output_tokens,
            "cached_input": usage.cache_read_tokens,
            "cache_write": usage.cache_write_tokens,
            "reasoning": usage.reasoning_tokens,
            "estimated": usage.estimated,
            "cost_usd": cost_usd(deployment, usage),
        }
        if self._writer is None:
            self._writer = BackgroundWriter(cast(TextIO, _LazyAppendFile(self._path)))
        self._writer.write(orjson.dumps(fields, option=_JSON_OPTIONS).decode())

    def close(self) -> None:
        """Write what is left, within two seconds. Blocks; call it in a thread."""
        if self._writer is not None:
            self._writer.close()


class _LazyAppendFile:
    """A file that is opened at its first line; whole lines alone, as several processes append."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file: IO[bytes] | None = None

    def write(self, text: str) -> int:
        if self._file is None:
            self._file = self._path.open("ab", buffering=0)
        self._file.write(text.encode())
        return len(text)

    def flush(self) -> None:
        """Nothing is held back."""

    def __del__(self) -> None:
        if self._file is not None:
            self._file.close()
