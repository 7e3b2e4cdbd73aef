"""An event loop whose time jumps to the next timer instead of waiting for it.

Like FoundationDB's simulation (https://apple.github.io/foundationdb/testing.html): one thread, one
seed and no real clock, so that hours take seconds and a seed reproduces a failure. The loop does no
I/O.
"""

from __future__ import annotations

import asyncio
import random
import selectors
from collections.abc import Coroutine
from typing import Any, TypeVar

T = TypeVar("T")

_START_S = 1_000.0


class DeadlockError(RuntimeError):
    """Every task waits, and no timer is set that could wake one."""


class VirtualLoop(asyncio.SelectorEventLoop):
    """An asyncio loop on virtual time: `time()`, timers, sleeps and timeouts, and no sockets."""

    def __init__(self) -> None:
        self._virtual_now = _START_S
        super().__init__(_JumpingSelector(self))

    def time(self) -> float:
        """Virtual seconds."""
        return self._virtual_now

    def advance(self, seconds: float) -> None:
        """Advance virtual time."""
        self._virtual_now += seconds


class _JumpingSelector(selectors.SelectSelector):
    """A selector that advances virtual time where it would block."""

    def __init__(self, loop: VirtualLoop) -> None:
        super().__init__()
        self._loop = loop

    def select(self, timeout: float | None = None) -> list[Any]:
        if timeout is None:
            raise DeadlockError("every task waits, and no timer is set")
        if timeout > 0:
            self._loop.advance(timeout)
        return []


def run(main: Coroutine[Any, Any, T], seed: int = 0) -> T:
    """Run a coroutine on virtual time, with the global random generator seeded during the run.

    Raises DeadlockError if no task can proceed, and what `main` raises, with a note of the seed.
    """
    state = random.getstate()
    random.seed(seed)
    try:
        with asyncio.Runner(loop_factory=VirtualLoop) as runner:
            return runner.run(main)
    except Exception as error:
        error.add_note(f"on virtual time, with seed {seed}")
        raise
    finally:
        random.setstate(state)
