"""How a process merges the messages of others, without a Redis."""

import random
from functools import partial

import pytest

from hamlet.core.errors import RateLimited
from hamlet.registry import Quota, ReservedThroughput
from hamlet.routing.failure_policy import apply_failure
from hamlet.routing.gossip.message import DeploymentSnapshot, GossipMessage
from hamlet.testing.scripted import ScriptedProvider
from support.clock import ManualClock
from support.gateway import deployment
from support.replica import ReplicaState

PTU = ReservedThroughput(10, 6000, 1.0)


class MergingReplica(ReplicaState):
    """A replica with one deployment that exchanges messages by hand."""

    def __init__(self, name: str, clock: ManualClock, capacity=PTU) -> None:
        super().__init__([deployment(ScriptedProvider(), "d", capacity=capacity)], clock, seed=1)
        self.merger = self.new_merger(name)
        self.state = self.deployment_state()

    def reserve(self, cost: float) -> None:
        self.state.capacity_model.reserve(cost, self.load_balancer.clock())
        self.load_balancer.pending_updates.costs["d/m"] += cost
        self.load_balancer.pending_updates.calls["d/m"] += 1


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


def test_lost_message_is_resent_once(clock) -> None:
    one, other = MergingReplica("a", clock), MergingReplica("b", clock)
    one.reserve(100)
    one.load_balancer.pending_updates.changed_ids.add("d/m")
    lost = one.merger.next_message()
    one.reserve(50)
    received = one.merger.next_message()
    assert lost is not None
    assert received is not None
    assert received.charges == {"d/m": (150.0, 2)}
    assert set(received.snapshots) == {"d/m"}
    one.merger.mark_sent()
    assert one.merger.next_message() is None
    for _ in range(2):
        other.merger.merge(received)
    assert other.capacity_level() == pytest.approx(150)


def test_own_and_unknown_messages_are_ignored(clock) -> None:
    one = MergingReplica("a", clock)
    one.merger.merge(GossipMessage("a", 1, {"d/m": (100.0, 1.0)}))
    one.merger.merge(
        GossipMessage("b", 1, {"x/y": (9.0, 1.0)}, {"x/y": DeploymentSnapshot(cooldown_s=3)})
    )
    assert one.capacity_level() == 0
    assert set(one.load_balancer.deployment_states) == {"d/m"}


def test_a_cooldown_never_shortens_and_is_not_passed_on(clock) -> None:
    one, other = MergingReplica("a", clock), MergingReplica("b", clock)
    apply_failure(one.state, RateLimited("full", retry_after=60), clock(), random.Random(1))
    message = one.merger.next_message(full=True)
    assert message is not None
    other.state.cool_down(5, clock())
    other.merger.merge(message)
    assert other.state.cooldown_until == one.state.cooldown_until
    again = other.merger.next_message(full=True)
    assert again is not None
    assert all(snapshot.cooldown_s == 0 for snapshot in again.snapshots.values())
    one.merger.merge(
        GossipMessage("c", 1, {}, {"d/m": DeploymentSnapshot(cooldown_s=1, penalty_s=9)})
    )
    assert one.state.cooldown_until > clock() + 50
    assert one.state.penalty_until == clock() + 9


def test_newer_breaker_wins_and_of_equal_epochs_the_open_one(clock) -> None:
    one, other = MergingReplica("a", clock), MergingReplica("b", clock)
    one.state.breaker.open("failures", clock(), 30)
    other.state.breaker.merge_remote(1, None, 0, 0, clock())
    other.state.breaker.epoch = 1
    for from_, to in ((one, other), (other, one)):
        message = from_.merger.next_message(full=True)
        assert message is not None
        to.merger.merge(message)
    assert other.state.breaker.is_tripped
    assert other.state.breaker.open_until == clock() + 30


def test_remote_breaker_opening_notifies_listener(clock) -> None:
    one, other = MergingReplica("a", clock), MergingReplica("b", clock)
    for change in (
        partial(one.state.breaker.open, "failures"),
        one.state.breaker.close,
    ):
        change(clock())
        message = one.merger.next_message(full=True)
        assert message is not None
        other.merger.merge(message)
    assert other.breaker_changes == [True, False]


def test_outlier_latency_is_cleared_everywhere_on_recovery(clock) -> None:
    one, other = MergingReplica("a", clock), MergingReplica("b", clock)
    one.state.slowness.raise_to(9, clock())
    one.state.breaker.open("slow", clock(), 10)
    message = one.merger.next_message(full=True)
    assert message is not None
    other.merger.merge(message)
    assert other.state.slowness_factor(clock()) == 9
    one.state.breaker.close(clock())
    one.state.reset_slowness(clock())
    late, news = other.merger.next_message(full=True), one.merger.next_message(full=True)
    assert late is not None
    assert news is not None
    one.merger.merge(late)
    other.merger.merge(news)
    assert one.state.slowness_factor(clock()) == other.state.slowness_factor(clock()) == 1
    assert not other.state.breaker.is_tripped


@pytest.mark.parametrize("capacity", [PTU, Quota(60_000, 600), None], ids=["ptu", "quota", "open"])
def test_capacity_is_split_when_isolated_and_summed_when_shared(clock, capacity) -> None:
    one, other = MergingReplica("a", clock, capacity), MergingReplica("b", clock, capacity)
    for x, y in ((one, other), (other, one)):
        x.merger.merge(GossipMessage(y.merger.name, 0))
        x.merger.mark_sent()
    assert one.merger.process_count == 2
    for side, cost in ((one, 3000), (other, 1000)):
        side.merger.isolate()
        side.merger.isolate()
        side.reserve(cost)
    assert one.state.capacity_model.fill(0, clock()) == pytest.approx(
        one.capacity_level() / (30_000 * 0.55)
        if capacity == PTU
        else one.capacity_level() / 33_000,
        abs=0.04,
    )
    one.merger.join([], was_isolated=True)
    first = one.merger.next_message(full=True)
    snapshot = one.merger.snapshot_message()
    one.merger.mark_sent()
    other.merger.join([snapshot, other.merger.snapshot_message()], was_isolated=True)
    assert first is not None
    other.merger.merge(first)
    second = other.merger.next_message(full=True)
    assert second is not None
    one.merger.merge(second)
    assert one.capacity_level() == other.capacity_level() == (0 if capacity is None else 4000)


def test_merge_does_not_double_count_shared_cost(clock) -> None:
    one, other = MergingReplica("a", clock), MergingReplica("b", clock)
    one.reserve(2000)
    other.state.capacity_model.reserve(1500, clock())
    other.merger.join([one.merger.snapshot_message()], was_isolated=False)
    assert other.capacity_level() == 2000
