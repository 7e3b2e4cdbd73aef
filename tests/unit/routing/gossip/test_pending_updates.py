"""What is recorded for other processes."""

from hamlet.routing.gossip.pending_updates import PendingUpdates


def test_drained_updates_start_empty_again() -> None:
    updates = PendingUpdates()
    updates.costs["a"] += 5.0
    updates.calls["a"] += 1
    updates.changed_ids.add("a")
    drained = updates.drain()
    assert (drained.costs, drained.calls, drained.changed_ids) == ({"a": 5.0}, {"a": 1.0}, {"a"})
    assert updates == PendingUpdates()
    updates.costs["b"] += 1.0
    assert drained.costs == {"a": 5.0}
