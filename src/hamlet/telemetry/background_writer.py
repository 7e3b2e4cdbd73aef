"""A stream for log lines that does not block the event loop."""

from __future__ import annotations

import atexit
import threading
from collections import deque
from typing import TextIO

_MAX_LINES = 10_000
_CLOSE_TIMEOUT_S = 2.0
_BATCH_DELAY_S = 0.02


class BackgroundWriter:
    """Queues lines for a thread that writes them. `dropped` counts the lines that found it full.

    Without it a stalled reader, such as a full pipe, would block every call. At most `max_lines`
    lines are queued. Lines of the same 20 ms are written together: waking the thread for each
    line would cost more than everything else that is done for it.
    """

    def __init__(self, stream: TextIO, max_lines: int = _MAX_LINES) -> None:
        self.dropped = 0
        self._stream = stream
        self._max_lines = max_lines
        self._lines: deque[str] = deque()
        self._has_lines, self._closed = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._run, name="log", daemon=True)
        self._thread.start()
        atexit.register(self.close)

    def write(self, text: str) -> int:
        """Queue a line; returns its length in characters, as streams do."""
        if len(self._lines) < self._max_lines:
            self._lines.append(text)
        else:
            self.dropped += 1
        if not self._has_lines.is_set():
            self._has_lines.set()
        return len(text)

    def flush(self) -> None:
        """Nothing to do: the thread flushes after each write."""

    def close(self) -> None:
        """Write the remaining lines, for at most 2 s."""
        atexit.unregister(self.close)
        self._closed.set()
        self._has_lines.set()
        self._thread.join(_CLOSE_TIMEOUT_S)

    def _run(self) -> None:
        while not self._closed.is_set():
            self._has_lines.wait()
            self._closed.wait(_BATCH_DELAY_S)
            # Cleared before the queue is read: a line added after that sets it again.
            self._has_lines.clear()
            self._write_pending()
        self._write_pending()

    def _write_pending(self) -> None:
        lines = [self._lines.popleft() for _ in range(len(self._lines))]
        if not lines:
            return
        try:
            self._stream.write("".join(lines))
            self._stream.flush()
        except (OSError, ValueError):
            # The reader is gone, so the loss can only be counted.
            self.dropped += len(lines)
