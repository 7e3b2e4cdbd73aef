"""What must hold whatever befalls a fleet, watched from outside while a simulation runs."""

from __future__ import annotations

import random
from collections import Counter, defaultdict
from collections.abc import Callable
from typing import Any

from hamlet.core import NativeChunk, TextDelta
from hamlet.core.errors import ProviderError, RateLimited
from hamlet.gateway import Admission, Attempt, Gateway, Observer, Observers, Record
from hamlet.registry import RegistryHolder, Route
from hamlet.routing import Booking, Choice, Demand, Fleet
from hamlet.simulator.report import Outcome

_GRACE_S = 1.0
_WORD = "word "


class Broken(AssertionError):
    """An invariant does not hold."""


def holds(true: object, what: str) -> None:
    """Raise Broken unless it is true."""
    if not true:
        raise Broken(what)


class WatchedFleet(Fleet):
    """The fleet, with every booking looked at as it begins and ends.

    What does not hold is kept until `over`: raised in the middle of a call, it would be taken for
    a fault of the adapter.
    """

    def __init__(self, clock: Callable[[], float], rng: random.Random) -> None:
        super().__init__(clock, rng)
        self.open: set[Booking] = set()
        self._probes: set[Booking] = set()
        self._cooled: dict[str, float] = {}
        self._broken: str | None = None

    def begin(self, choice: Choice, demand: Demand) -> Booking:
        deployment, condition = choice.deployment, choice.member.condition
        self._look(choice)
        probing = any(b.member.deployment.id == deployment.id for b in self._probes)
        self._holds(not (choice.probe and probing), f"two probes of {deployment.id} at once")
        booking = super().begin(choice, demand)
        self.open.add(booking)
        if booking.probe:
            self._probes.add(booking)
        self._holds(condition.in_flight >= 1, f"{condition.deployment_id} has calls below one")
        return booking

    def succeeded(self, booking: Booking, tokens: float | None = None) -> None:
        # Once it has answered, another may follow while its stream goes on.
        self._probes.discard(booking)
        super().succeeded(booking, tokens)

    def settle(self, booking: Booking, *args: Any, **more: Any) -> None:
        super().settle(booking, *args, **more)
        self.open.discard(booking)
        self._probes.discard(booking)
        condition = booking.member.condition
        self._holds(condition.in_flight >= 0, f"{condition.deployment_id} has calls below none")
        cost, calls = condition.ledger.levels(self.clock())
        self._holds(cost >= 0 and calls >= 0, f"the ledger of {condition.deployment_id} is below 0")
        cooled = self._cooled.get(condition.deployment_id, 0.0)
        self._holds(condition.cooldown_until >= cooled, "a cooldown got shorter")
        self._cooled[condition.deployment_id] = condition.cooldown_until

    def _look(self, choice: Choice) -> None:
        """Whether this deployment may be asked at all."""
        deployment, condition = choice.deployment, choice.member.condition
        breaker = condition.breaker
        out = breaker.hopeless(self.clock())
        self._holds(not out, f"{deployment.id} is out for {breaker.reason} and was asked")

    def _holds(self, true: object, what: str) -> None:
        if not true:
            self._broken = self._broken or what

    def over(self) -> None:
        """Nothing is under way any more. Raises Broken for this, or what did not hold before."""
        holds(self._broken is None, self._broken or "")
        holds(not self.open, f"{len(self.open)} attempts were never settled")
        for condition in self.conditions.values():
            holds(condition.in_flight == 0, f"{condition.deployment_id} keeps calls in flight")
            holds(not condition.drags(self.clock() + 1e9), f"{condition.deployment_id} is owed")
            level = condition.ledger.levels(self.clock() + 1e6)
            holds(level == (0.0, 0.0), f"the ledger of {condition.deployment_id} stays at {level}")
        for traffic in self._traffic.values():
            budget = traffic.budget
            holds(budget.in_flight == budget.retrying == 0, "a budget keeps calls or retries")


class Invariants(Observer):
    """An observer, and the hooks of a run. Each raises Broken.

    Attempts that fail, but for 429s and hedges, are at most the policy's; nobody is asked twice in
    one call, unless it had been full or may be asked again; nothing follows what is the caller's
    fault; retries keep to their budget; an answer is of one piece and ends once, in time.
    """

    def __init__(self, routes: dict[str, Route]) -> None:
        self._routes = routes
        self._hunts: dict[str, list[Attempt]] = defaultdict(list)
        self._words: Counter[str] = Counter()
        self._ids: dict[str, set[str]] = defaultdict(set)
        self._ended: Counter[str] = Counter()
        self._calls: Counter[str] = Counter()
        self._retries: Counter[str] = Counter()

    # -- as an observer

    def on_start(self, record: Record) -> None:
        self._calls[record.route] += 1

    def on_attempt(self, record: Record, attempt: Attempt) -> None:
        route, hunt = self._routes[record.route], self._hunts[record.request_id]
        self._may_follow(route, hunt, attempt)
        hunt.append(attempt)
        deployment, homes = attempt.deployment, route.residency
        at_home = not homes or deployment.region in homes or deployment.data_zone in homes
        holds(at_home, f"{deployment.id} is outside {sorted(homes)}")
        failed = [a for a in hunt if a.error is not None and not isinstance(a.error, RateLimited)]
        hedges = sum(a.way == "hedge" for a in hunt)
        most = route.policy.attempts + hedges
        holds(len(failed) <= most, f"{len(failed)} failed attempts, {most} are allowed")
        self._retries[record.route] += attempt.way in ("retry", "failover")
        earned = route.policy.retry_budget * self._calls[record.route] + 20
        holds(self._retries[record.route] <= earned, "more retries than the budget has")

    def on_end(self, record: Record) -> None:
        self._ended[record.request_id] += 1
        holds(self._ended[record.request_id] == 1, f"{record.request_id} ended twice")

    def _may_follow(self, route: Route, hunt: list[Attempt], attempt: Attempt) -> None:
        if attempt.way == "hedge":
            return
        last = next((a for a in reversed(hunt) if a.way != "hedge"), None)
        if last is not None and last.error is not None and not last.cancelled:
            holds(_goes_on(route, last.error), f"an attempt followed {last.error.code}")
        before = [a for a in hunt if a.deployment.id == attempt.deployment.id]
        if before and not before[-1].cancelled:
            error = before[-1].error
            again = isinstance(error, RateLimited) or (error is not None and error.repeatable)
            holds(again, f"{attempt.deployment.id} was asked twice in one call")

    # -- as hooks of the run

    def on_item(self, request_id: str, item: Any) -> None:
        """Every piece that a client gets."""
        if isinstance(item, NativeChunk):
            text = item.data.decode("utf-8", "replace")
            self._words[request_id] += text.count(_WORD)
            self._ids[request_id] |= {
                part.partition('"')[0] for part in text.split('"id":"sim-')[1:]
            }
        elif isinstance(item, TextDelta):
            self._words[request_id] += item.text.count(_WORD)
        holds(len(self._ids[request_id]) <= 1, f"two answers in one: {self._ids[request_id]}")

    def on_outcome(self, outcome: Outcome) -> None:
        """Every end of a call."""
        id_, words = outcome.request_id, self._words[outcome.request_id]
        holds(self._ended[id_] == 1, f"{id_} ended {self._ended[id_]} times")
        holds(
            words <= outcome.arrival.output, f"{words} tokens, {outcome.arrival.output} were said"
        )
        if outcome.ok and outcome.output:
            holds(words == outcome.output, f"{words} tokens came, {outcome.output} are counted")
        limit = outcome.deadline_s
        if limit is not None:
            holds(outcome.duration_s <= limit + _GRACE_S, f"{id_} took {outcome.duration_s:.1f} s")


def _goes_on(route: Route, error: ProviderError) -> bool:
    blocked = error.code == "content_filter" and route.policy.content_filter == "failover"
    longer = error.code == "context_length_exceeded"
    return error.try_other or error.repeatable or blocked or longer


def watched(
    max_in_flight: int,
) -> Callable[[RegistryHolder, Observers, Callable[[], float]], Gateway]:
    """What makes a run's gateway, with a fleet that is watched."""

    def make(holder: RegistryHolder, told: Observers, clock: Callable[[], float]) -> Gateway:
        fleet = WatchedFleet(clock, random.Random(random.getrandbits(64)))
        return Gateway(holder, Admission(max_in_flight, clock), told, fleet)

    return make
