"""A timer whose deadline moves."""

import asyncio

from hamlet.net.timers.lazy_timer import LazyTimer
from hamlet.net.timers.timer_wheel import TimerWheel, running_wheel


class CountingWheel(TimerWheel):
    """A wheel that counts what is scheduled on it."""

    __slots__ = ("schedule_count",)

    def __init__(self) -> None:
        super().__init__(asyncio.get_running_loop())
        self.schedule_count = 0

    def schedule(self, at, timer) -> int:
        self.schedule_count += 1
        return super().schedule(at, timer)


class RecordingTimer(LazyTimer):
    __slots__ = ("timed_out", "timed_out_at")

    def __init__(self, wheel: TimerWheel) -> None:
        super().__init__(wheel)
        self.timed_out = asyncio.Event()
        self.timed_out_at: list[float] = []

    def on_timeout(self) -> None:
        self.timed_out_at.append(self._wheel.loop.time())
        self.timed_out.set()


async def test_later_deadline_replaces_earlier_one_and_is_scheduled_once() -> None:
    wheel = CountingWheel()
    timer, started_at = RecordingTimer(wheel), wheel.loop.time()
    timer.set_timeout(0.05)
    for _ in range(100):
        timer.set_timeout(0.3)
    assert wheel.schedule_count == 1
    await timer.timed_out.wait()
    assert wheel.schedule_count == 2, "when the first slot expired it was scheduled again"
    (timed_out_at,) = timer.timed_out_at
    assert timed_out_at >= started_at + 0.3


async def test_earlier_deadline_replaces_later_one() -> None:
    wheel = running_wheel()
    timer, started_at = RecordingTimer(wheel), wheel.loop.time()
    timer.set_timeout(60.0)
    timer.set_timeout(0.01)
    await timer.timed_out.wait()
    assert timer.timed_out_at[0] < started_at + 30.0


async def test_cancelled_timeout_does_not_expire_until_it_is_set_again() -> None:
    wheel = running_wheel()
    timer, other = RecordingTimer(wheel), RecordingTimer(wheel)
    timer.set_timeout(0.01)
    timer.cancel_timeout()
    timer.cancel_timeout()
    other.set_timeout(0.1)
    await other.timed_out.wait()
    assert timer.timed_out_at == []
    timer.set_timeout(0.01)
    await timer.timed_out.wait()


async def test_infinite_timeout_is_never_scheduled() -> None:
    wheel = CountingWheel()
    RecordingTimer(wheel).set_timeout(float("inf"))
    assert wheel.schedule_count == 0
