"""A stream for log lines that never blocks the event loop."""

from __future__ import annotations

import atexit
import queue
import threading
from typing import TextIO

_MOST = 10_000
_CLOSE_S = 2.0


class Writer:
    """Hands lines to a thread that writes them; drops and counts them while it is `most` behind.

    A reader that stalls, like a full pipe, would otherwise stop every call.
    """

    def __init__(self, stream: TextIO, most: int = _MOST) -> None:
        self.dropped = 0
        self._stream = stream
        self._lines: queue.Queue[str | None] = queue.Queue(most)
        self._thread = threading.Thread(target=self._run, name="log", daemon=True)
        self._thread.start()
        atexit.register(self.close)

    def write(self, text: str) -> int:
        """Take a line."""
        try:
            self._lines.put_nowait(text)
        except queue.Full:
            self.dropped += 1
        return len(text)

    def flush(self) -> None:
        """Nothing: the thread flushes when it has caught up."""

    def close(self) -> None:
        """Write what is left, within two seconds."""
        atexit.unregister(self.close)
        try:
            self._lines.put(None, timeout=_CLOSE_S)
        except queue.Full:
            return
        self._thread.join(_CLOSE_S)

    def _run(self) -> None:
        while (text := self._lines.get()) is not None:
            try:
                self._stream.write(text)
                if self._lines.empty():
                    self._stream.flush()
            except (OSError, ValueError):
                # Whoever read has gone: there is nobody to tell.
                self.dropped += 1
