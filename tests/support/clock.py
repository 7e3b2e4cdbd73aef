"""A clock for code that takes its time from a callable."""


class ManualClock:
    """Monotonic seconds, advanced by the test."""

    def __init__(self, now: float = 1000.0) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now

    def advance(self, seconds: float) -> None:
        self.now += seconds
