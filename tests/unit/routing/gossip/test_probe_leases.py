"""Probe leases without Redis."""

import random

import pytest

from hamlet.routing.deployment_state import DeploymentState
from hamlet.routing.gossip.probe_leases import LEASE_TTL_S, ProbeLeases
from support.clock import ManualClock
from support.routing import stub_deployment


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


def test_probe_lease_is_random_without_redis(clock) -> None:
    leases = ProbeLeases(clock, random.Random(1))
    states = [DeploymentState(stub_deployment("d"), random.Random(1), clock())]
    states[0].breaker.open("failures", clock(), 0)
    leases.assign_randomly(states, 1)
    assert leases.is_held("d/m")
    clock.now += LEASE_TTL_S
    assert not leases.is_held("d/m")
    held_count = 0
    for _ in range(400):
        leases.assign_randomly(states, 4)
        won = leases.is_held("d/m")
        leases.assign_randomly(states, 1)
        assert leases.is_held("d/m") == won, "drawing more often must not help"
        held_count += won
        clock.now += 2 * LEASE_TTL_S
    assert 60 < held_count < 140


def test_lease_taken_by_another_process_is_lost(clock) -> None:
    leases = ProbeLeases(clock)
    leases.on_granted("d/m", clock())
    leases.on_refused("d/m")
    assert not leases.is_held("d/m")
