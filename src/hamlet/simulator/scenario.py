"""One answer as a timeline, played by a server over a socket or in memory on virtual time."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Literal, NamedTuple

Before = Literal["answer", "abort", "refuse", "hang"]
End = Literal["whole", "cut", "reset", "hang"]
JSON = "application/json"


class Step(NamedTuple):
    """After `wait_s` seconds, `data` goes out; it holds `tokens` of the answer."""

    wait_s: float
    data: bytes
    tokens: int


class Play:
    """Status, headers, and the steps of the body; the head goes out with the first step.

    Whoever plays it waits for `upcoming` and takes it with `send`, until there is none, and calls
    `done(now)` however it ends, once or more often. `before` is what happens instead of an answer,
    `end` how the body ends: properly, by a closed connection ("cut"), by a reset, or never.
    """

    __slots__ = ("_settle", "_steps", "before", "end", "headers", "output", "status", "upcoming")

    def __init__(
        self,
        status: int = 200,
        headers: Mapping[str, str] = {},
        steps: Iterable[Step] = (),
        *,
        before: Before = "answer",
        end: End = "whole",
        settle: Callable[[int, bool, float], None] | None = None,
    ) -> None:
        self.status = status
        self.headers = headers
        self.before: Before = before
        self.end: End = end
        self.output = 0
        self._steps: Iterator[Step] = iter(steps)
        self._settle = settle
        self.upcoming = next(self._steps, None)

    @property
    def whole(self) -> bool:
        """Whether everything went out and the body ends properly."""
        return self.upcoming is None and self.end == "whole"

    def send(self) -> bytes:
        """The upcoming step's bytes, which go out now."""
        step = self.upcoming
        assert step is not None
        self.output += step.tokens
        self.upcoming = next(self._steps, None)
        return step.data

    def done(self, now: float) -> None:
        """The answer ended, or whoever asked has left. Only the first call counts."""
        if self._settle is not None:
            settle, self._settle = self._settle, None
            settle(self.output, self.whole, now)


def reply(status: int, body: bytes, kind: str = JSON, wait_s: float = 0.0, **headers: str) -> Play:
    """A whole answer at once; header names with _ for -."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return Play(status, {"content-type": kind, **named}, [Step(wait_s, body, 0)])
