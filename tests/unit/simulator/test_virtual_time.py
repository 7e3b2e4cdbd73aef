"""The loop on virtual time."""

import asyncio
import random
import time

import pytest

from hamlet.simulator import DeadlockError, VirtualLoop
from hamlet.simulator import virtual_time as virtual


def test_an_hour_passes_at_once() -> None:
    async def main() -> float:
        loop = asyncio.get_running_loop()
        begin = loop.time()
        await asyncio.sleep(3600)
        return loop.time() - begin

    before = time.monotonic()
    assert virtual.run(main()) == pytest.approx(3600)
    assert time.monotonic() - before < 60


def test_timers_fire_in_order_and_on_time() -> None:
    async def main() -> list[tuple[str, float]]:
        loop = asyncio.get_running_loop()
        begin, fired = loop.time(), []

        def note(name: str) -> None:
            fired.append((name, round(loop.time() - begin, 6)))

        loop.call_later(3, note, "c")
        loop.call_later(1, note, "a")
        loop.call_at(begin + 2.5, note, "b")
        await asyncio.sleep(4)
        return fired

    assert virtual.run(main()) == [("a", 1.0), ("b", 2.5), ("c", 3.0)]


def test_timeouts_cut_off_at_their_time() -> None:
    async def main() -> float:
        loop = asyncio.get_running_loop()
        begin = loop.time()
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(7.5):
                await asyncio.Event().wait()
        return loop.time() - begin

    assert virtual.run(main()) == pytest.approx(7.5)


def test_work_takes_no_time() -> None:
    async def main() -> float:
        loop = asyncio.get_running_loop()
        begin = loop.time()
        for _ in range(1000):
            await asyncio.sleep(0)
        return loop.time() - begin

    assert virtual.run(main()) == 0.0


def test_a_wait_that_never_ends_is_an_error() -> None:
    async def main() -> None:
        await asyncio.Event().wait()

    with pytest.raises(DeadlockError, match="no timer"):
        virtual.run(main())


def test_the_global_generator_is_seeded_and_given_back() -> None:
    async def main() -> float:
        return random.random()

    random.seed(99)
    kept = random.getstate()
    one, other = virtual.run(main(), 5), virtual.run(main(), 6)
    assert one == virtual.run(main(), 5)
    assert one != other
    assert random.getstate() == kept


def test_what_is_raised_comes_out_with_its_seed() -> None:
    async def main() -> None:
        raise LookupError("no")

    with pytest.raises(LookupError) as caught:
        virtual.run(main(), 4711)
    assert "seed 4711" in caught.value.__notes__[0]


def test_tasks_left_over_are_cancelled() -> None:
    ended = []

    async def left() -> None:
        try:
            await asyncio.sleep(1e6)
        finally:
            ended.append(True)

    async def main() -> None:
        asyncio.get_running_loop().create_task(left())
        await asyncio.sleep(1)

    virtual.run(main())
    assert ended == [True]


def test_time_starts_the_same_on_every_loop() -> None:
    loops = [VirtualLoop(), VirtualLoop()]
    try:
        assert loops[0].time() == loops[1].time() > 0
    finally:
        for loop in loops:
            loop.close()
