"""Many timers on one timer of the loop."""

import asyncio
from collections.abc import Callable

from hamlet.spi import running_wheel


class FakeTimer:
    def __init__(self, then: Callable[[], None] = lambda: None) -> None:
        self.expired = asyncio.Event()
        self.expirations = 0
        self._then = then

    def expire(self) -> None:
        self.expirations += 1
        self.expired.set()
        self._then()


async def test_timers_expire_on_time_and_in_order() -> None:
    wheel, order = running_wheel(), list[str]()
    late, soon = FakeTimer(lambda: order.append("late")), FakeTimer(lambda: order.append("soon"))
    now = wheel.loop.time()
    wheel.schedule(now + 0.2, late)
    wheel.schedule(now + 0.01, soon)
    await soon.expired.wait()
    assert wheel.loop.time() >= now + 0.01
    await late.expired.wait()
    assert wheel.loop.time() >= now + 0.2
    assert order == ["soon", "late"]


async def test_cancelled_timer_does_not_expire() -> None:
    wheel = running_wheel()
    at = wheel.loop.time() + 0.01
    silent, other, last = FakeTimer(), FakeTimer(), FakeTimer()
    first = FakeTimer(lambda: wheel.cancel(slot, silent))
    cancelled_slot = wheel.schedule(at, other)
    wheel.schedule(at, first)
    slot = wheel.schedule(at, silent)
    wheel.schedule(at, last)
    wheel.cancel(cancelled_slot, other)
    await last.expired.wait()
    assert (first.expirations, silent.expirations, other.expirations) == (1, 0, 0)
    wheel.cancel(slot, silent)


async def test_timer_may_rearm_itself() -> None:
    wheel = running_wheel()

    def rearm() -> None:
        if timer.expirations < 3:
            timer.expired.clear()
            wheel.schedule(wheel.loop.time() + 0.01, timer)
        else:
            done.set()

    done, timer = asyncio.Event(), FakeTimer(rearm)
    wheel.schedule(wheel.loop.time(), timer)
    await done.wait()
    assert timer.expirations == 3


async def test_timer_exception_does_not_stop_others() -> None:
    wheel, reported = running_wheel(), []
    wheel.loop.set_exception_handler(lambda _, context: reported.append(context["exception"]))

    def fail() -> None:
        raise error

    error, at = ValueError("broken"), wheel.loop.time()
    sibling, later = FakeTimer(), FakeTimer()
    for timer in (FakeTimer(fail), sibling):
        wheel.schedule(at, timer)
    wheel.schedule(at + 0.1, later)
    async with asyncio.timeout(30):
        await sibling.expired.wait()
        await later.expired.wait()
    assert reported == [error]


async def test_each_loop_has_its_own_wheel() -> None:
    ours = running_wheel()

    async def theirs() -> object:
        return running_wheel()

    assert running_wheel() is ours
    assert await asyncio.to_thread(asyncio.run, theirs()) is not ours
    assert running_wheel() is ours
