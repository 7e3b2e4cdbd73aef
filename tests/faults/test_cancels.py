"""Clients that leave at random points, over real sockets. `make cancels` plays ten thousand."""

from loadtest.cancels import cancels


async def test_calls_that_are_called_off_leave_nothing_behind() -> None:
    left = await cancels(150, seed=4)
    assert left.ends.total() == 150
    assert left.ends["called off"] > 50
    assert left.clean, left
