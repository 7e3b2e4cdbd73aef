"""The usage log: one JSON line per call that used tokens, in a file of its own."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import IO, TextIO, cast

import orjson

from hamlet.gateway import CallRecord, Observer
from hamlet.telemetry.background_writer import BackgroundWriter
from hamlet.telemetry.logs import JSON_LINE_OPTIONS
from hamlet.telemetry.metrics import cost_usd


class UsageLog(Observer):
    """Appends to a file in a thread. Records the caller's key name, never message content."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._writer: BackgroundWriter | None = None

    @property
    def dropped(self) -> int:
        """Number of lines lost: unwritable, or refused because the writer was behind."""
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
        self._writer.write(orjson.dumps(fields, option=JSON_LINE_OPTIONS).decode())

    def close(self) -> None:
        """Write the remaining lines, for at most 2 s. Blocks; call it in a thread."""
        if self._writer is not None:
            self._writer.close()


class _LazyAppendFile:
    """A file opened at its first write. Unbuffered: each write appends whole lines, since several
    processes may append to the file.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file: IO[bytes] | None = None

    def write(self, text: str) -> int:
        if self._file is None:
            self._file = self._path.open("ab", buffering=0)
        self._file.write(text.encode())
        return len(text)

    def flush(self) -> None:
        """Nothing to do: the file is unbuffered."""

    def __del__(self) -> None:
        if self._file is not None:
            self._file.close()
