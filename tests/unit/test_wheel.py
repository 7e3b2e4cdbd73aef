"""Many timers in one."""

import asyncio
from collections.abc import Callable

from hamlet.spi import running_wheel


class Bell:
    def __init__(self, then: Callable[[], None] = lambda: None) -> None:
        self.rang = asyncio.Event()
        self.rings = 0
        self._then = then

    def ring(self) -> None:
        self.rings += 1
        self.rang.set()
        self._then()


async def test_no_bell_rings_before_its_time_and_earlier_ones_ring_first() -> None:
    wheel, told = running_wheel(), list[str]()
    late, soon = Bell(lambda: told.append("late")), Bell(lambda: told.append("soon"))
    now = wheel.loop.time()
    wheel.set(now + 0.2, late)
    wheel.set(now + 0.01, soon)
    await soon.rang.wait()
    assert wheel.loop.time() >= now + 0.01
    await late.rang.wait()
    assert wheel.loop.time() >= now + 0.2
    assert told == ["soon", "late"]


async def test_what_is_unset_does_not_ring_even_by_a_bell_of_the_same_time() -> None:
    wheel = running_wheel()
    at = wheel.loop.time() + 0.01
    silent, other, last = Bell(), Bell(), Bell()
    first = Bell(lambda: wheel.unset(slot, silent))
    gone = wheel.set(at, other)
    wheel.set(at, first)
    slot = wheel.set(at, silent)
    wheel.set(at, last)
    wheel.unset(gone, other)
    await last.rang.wait()
    assert (first.rings, silent.rings, other.rings) == (1, 0, 0)
    wheel.unset(slot, silent)


async def test_a_bell_may_set_itself_again() -> None:
    wheel = running_wheel()

    def again() -> None:
        if bell.rings < 3:
            bell.rang.clear()
            wheel.set(wheel.loop.time() + 0.01, bell)
        else:
            done.set()

    done, bell = asyncio.Event(), Bell(again)
    wheel.set(wheel.loop.time(), bell)
    await done.wait()
    assert bell.rings == 3


async def test_what_one_bell_raises_silences_no_other() -> None:
    wheel, told = running_wheel(), []
    wheel.loop.set_exception_handler(lambda _, context: told.append(context["exception"]))

    def fail() -> None:
        raise error

    error, at = ValueError("broken"), wheel.loop.time()
    beside, later = Bell(), Bell()
    for bell in (Bell(fail), beside):
        wheel.set(at, bell)
    wheel.set(at + 0.1, later)
    async with asyncio.timeout(30):
        await beside.rang.wait()
        await later.rang.wait()
    assert told == [error]


async def test_a_loop_has_one_wheel_and_no_two_share_one() -> None:
    ours = running_wheel()

    async def theirs() -> object:
        return running_wheel()

    assert running_wheel() is ours
    assert await asyncio.to_thread(asyncio.run, theirs()) is not ours
    assert running_wheel() is ours
