"""How a process merges the messages of others, without a Redis."""

import random
from functools import partial

import pytest

from hamlet.core.errors import RateLimited
from hamlet.registry import Deployment, Quota, ReservedThroughput
from hamlet.routing import DeploymentState, LoadBalancer, PendingUpdates
from hamlet.routing.failure_policy import apply_failure
from hamlet.routing.gossip.merger import Merger
from hamlet.routing.gossip.message import DeploymentSnapshot, GossipMessage
from hamlet.testing.scripted import ScriptedProvider
from support.gateway import deployment
from support.routing import ManualClock

PTU = ReservedThroughput(10, 6000, 1.0)


class ReplicaState:
    def __init__(self, name: str, clock: ManualClock, capacity=PTU) -> None:
        self.breaker_changes: list[bool] = []
        self.load_balancer = LoadBalancer(
            clock,
            random.Random(1),
            pending_updates=PendingUpdates(),
            on_breaker_change=lambda state: self.breaker_changes.append(state.breaker.is_tripped),
        )
        self.rows: list[Deployment] = [deployment(ScriptedProvider(), "d", capacity=capacity)]
        self.merger = Merger(self.load_balancer, name, lambda: self.rows)
        self.deployment_state: DeploymentState = self.load_balancer.deployment_state(self.rows[0])

    def capacity_level(self) -> float:
        return self.deployment_state.capacity_model.undrained_levels(self.load_balancer.clock())[0]

    def reserve(self, cost: float) -> None:
        self.deployment_state.capacity_model.reserve(cost, self.load_balancer.clock())
        self.load_balancer.pending_updates.costs["d/m"] += cost
        self.load_balancer.pending_updates.calls["d/m"] += 1


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


def test_lost_message_is_resent_once(clock) -> None:
    one, other = ReplicaState("a", clock), ReplicaState("b", clock)
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
    one = ReplicaState("a", clock)
    one.merger.merge(GossipMessage("a", 1, {"d/m": (100.0, 1.0)}))
    one.merger.merge(
        GossipMessage("b", 1, {"x/y": (9.0, 1.0)}, {"x/y": DeploymentSnapshot(cooldown_s=3)})
    )
    assert one.capacity_level() == 0
    assert set(one.load_balancer.deployment_states) == {"d/m"}


def test_a_cooldown_never_shortens_and_is_not_passed_on(clock) -> None:
    one, other = ReplicaState("a", clock), ReplicaState("b", clock)
    apply_failure(
        one.deployment_state, RateLimited("full", retry_after=60), clock(), random.Random(1)
    )
    message = one.merger.next_message(full=True)
    assert message is not None
    other.deployment_state.cool_down(5, clock())
    other.merger.merge(message)
    assert other.deployment_state.cooldown_until == one.deployment_state.cooldown_until
    again = other.merger.next_message(full=True)
    assert again is not None
    assert all(snapshot.cooldown_s == 0 for snapshot in again.snapshots.values())
    one.merger.merge(
        GossipMessage("c", 1, {}, {"d/m": DeploymentSnapshot(cooldown_s=1, penalty_s=9)})
    )
    assert one.deployment_state.cooldown_until > clock() + 50
    assert one.deployment_state.penalty_until == clock() + 9


def test_newer_breaker_wins_and_of_equal_epochs_the_open_one(clock) -> None:
    one, other = ReplicaState("a", clock), ReplicaState("b", clock)
    one.deployment_state.breaker.open("failures", clock(), 30)
    other.deployment_state.breaker.merge_remote(1, None, 0, 0, clock())
    other.deployment_state.breaker.epoch = 1
    for from_, to in ((one, other), (other, one)):
        message = from_.merger.next_message(full=True)
        assert message is not None
        to.merger.merge(message)
    assert other.deployment_state.breaker.is_tripped
    assert other.deployment_state.breaker.open_until == clock() + 30


def test_remote_breaker_opening_notifies_listener(clock) -> None:
    one, other = ReplicaState("a", clock), ReplicaState("b", clock)
    for change in (
        partial(one.deployment_state.breaker.open, "failures"),
        one.deployment_state.breaker.close,
    ):
        change(clock())
        message = one.merger.next_message(full=True)
        assert message is not None
        other.merger.merge(message)
    assert other.breaker_changes == [True, False]


def test_outlier_latency_is_cleared_everywhere_on_recovery(clock) -> None:
    one, other = ReplicaState("a", clock), ReplicaState("b", clock)
    one.deployment_state.slowness.raise_to(9, clock())
    one.deployment_state.breaker.open("slow", clock(), 10)
    message = one.merger.next_message(full=True)
    assert message is not None
    other.merger.merge(message)
    assert other.deployment_state.slowness_factor(clock()) == 9
    one.deployment_state.breaker.close(clock())
    one.deployment_state.reset_slowness(clock())
    late, news = other.merger.next_message(full=True), one.merger.next_message(full=True)
    assert late is not None
    assert news is not None
    one.merger.merge(late)
    other.merger.merge(news)
    assert (
        one.deployment_state.slowness_factor(clock())
        == other.deployment_state.slowness_factor(clock())
        == 1
    )
    assert not other.deployment_state.breaker.is_tripped


@pytest.mark.parametrize("capacity", [PTU, Quota(60_000, 600), None], ids=["ptu", "quota", "open"])
def test_capacity_is_split_when_isolated_and_summed_when_shared(clock, capacity) -> None:
    one, other = ReplicaState("a", clock, capacity), ReplicaState("b", clock, capacity)
    for x, y in ((one, other), (other, one)):
        x.merger.merge(GossipMessage(y.merger.name, 0))
        x.merger.mark_sent()
    assert one.merger.process_count == 2
    for side, cost in ((one, 3000), (other, 1000)):
        side.merger.isolate()
        side.merger.isolate()
        side.reserve(cost)
    assert one.deployment_state.capacity_model.fill(0, clock()) == pytest.approx(
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
    one, other = ReplicaState("a", clock), ReplicaState("b", clock)
    one.reserve(2000)
    other.deployment_state.capacity_model.reserve(1500, clock())
    other.merger.join([one.merger.snapshot_message()], was_isolated=False)
    assert other.capacity_level() == 2000
