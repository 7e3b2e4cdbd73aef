"""Clients that disconnect at random points, over real sockets; `make cancels` runs ten thousand."""

from loadtest.scenarios.cancellations import cancel_calls


async def test_cancelled_calls_leak_nothing() -> None:
    left = await cancel_calls(150, seed=4)
    assert left.outcomes.total() == 150
    assert left.outcomes["cancelled"] > 50
    assert left.is_clean, left
