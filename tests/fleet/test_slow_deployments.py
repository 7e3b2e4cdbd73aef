"""Who is slow is asked less, and what is not answered yet tells as much as an answer."""

import pytest

from hamlet.core import Usage
from hamlet.registry import Deployment
from hamlet.routing import Booking, Choice, Demand
from support.fleets import Yard, member

ASK = Demand(100, 100, 100)


def sent(yard: Yard, name: str, demand: Demand = ASK) -> Booking:
    """A call under way to a deployment."""
    members = [m for tier in yard.fleet.traffic(yard.route).tiers for m in tier.members]
    asked = next(m for m in members if m.deployment.id == f"{name}/m")
    return yard.fleet.begin(Choice(asked, 0), demand)


def answered(yard: Yard, name: str, seconds: float) -> None:
    """A call whose first content took so long."""
    booking = sent(yard, name)
    yard.clock.tick(seconds)
    yard.fleet.succeeded(booking)
    yard.fleet.settle(booking, Usage(100, 100))


def used_to(*tiers: list[Deployment]) -> Yard:
    """A fleet that knows how long an answer takes: half a second."""
    yard = Yard(*tiers)
    for _ in range(60):
        answered(yard, "a", 0.5)
    return yard


@pytest.fixture
def yard() -> Yard:
    yard = used_to([member("a"), member("b")])
    assert set(yard.names()) == {"a", "b"}
    return yard


def test_one_slow_answer_is_an_accident_and_two_are_not(yard: Yard) -> None:
    answered(yard, "a", 5.0)
    assert not yard.condition("a").drags(yard.clock())
    answered(yard, "a", 5.0)
    assert yard.condition("a").drags(yard.clock())
    assert yard.names() == {"b": 200}


def test_two_calls_that_are_late_tell_as_much_as_two_late_answers(yard: Yard) -> None:
    sent(yard, "a")
    yard.clock.tick(1.0)
    second = sent(yard, "a")
    yard.clock.tick(1.5)
    assert not yard.condition("a").drags(yard.clock()), "one of them is late by now"
    yard.clock.tick(1.0)
    assert yard.condition("a").drags(yard.clock())
    assert yard.names() == {"b": 200}
    yard.fleet.succeeded(second)
    yard.fleet.settle(second, Usage(100, 100))
    assert yard.condition("a").drags(yard.clock()), "one is late, and one came late"


def test_a_late_answer_and_a_late_call_make_two(yard: Yard) -> None:
    answered(yard, "a", 5.0)
    sent(yard, "a")
    yard.clock.tick(5.0)
    assert yard.condition("a").drags(yard.clock())


def test_a_call_that_failed_or_was_called_off_is_not_waited_for(yard: Yard) -> None:
    first, second = sent(yard, "a"), sent(yard, "a")
    yard.clock.tick(5.0)
    yard.fleet.cancelled(first)
    yard.fleet.settle(second, Usage(0, 0))
    assert not yard.condition("a").drags(yard.clock())


def test_who_was_slow_is_tried_again_with_one_call_at_a_time(yard: Yard) -> None:
    answered(yard, "a", 5.0)
    answered(yard, "a", 5.0)
    yard.clock.tick(90.0)
    assert "a" in yard.names()
    trial = sent(yard, "a")
    assert yard.names() == {"b": 200}
    yard.clock.tick(0.5)
    yard.fleet.succeeded(trial)
    yard.fleet.settle(trial, Usage(100, 100))
    sent(yard, "a")
    assert "a" in yard.names(), "it has answered in good time"


def test_a_whole_answer_may_take_its_time(yard: Yard) -> None:
    whole = Demand(100, 100, 100, stream=False)
    for _ in range(3):
        sent(yard, "a", whole)
    yard.clock.tick(30.0)
    assert not yard.condition("a").drags(yard.clock())


def test_a_slow_deployment_is_better_than_none() -> None:
    alone = used_to([member("a")])
    answered(alone, "a", 5.0)
    answered(alone, "a", 5.0)
    assert alone.condition("a").drags(alone.clock())
    assert alone.names() == {"a": 200}


def test_a_quick_one_that_is_paid_for_comes_before_a_slow_one() -> None:
    yard = used_to([member("a")], [member("paid", None)])
    assert yard.names() == {"a": 200}
    answered(yard, "a", 5.0)
    answered(yard, "a", 5.0)
    assert yard.names() == {"paid": 200}
