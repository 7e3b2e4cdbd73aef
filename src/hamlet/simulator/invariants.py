"""Invariants of the gateway under any faults, checked while a simulation runs."""

from __future__ import annotations

import random
from collections import Counter, defaultdict
from collections.abc import Callable
from typing import Any

from hamlet.core import NativeChunk, TextDelta
from hamlet.core.errors import ProviderError, RateLimited
from hamlet.gateway import Admission, Attempt, CallRecord, Gateway, Observer, Observers
from hamlet.registry import RegistryHolder, Route
from hamlet.routing import CostEstimate, LoadBalancer, Reservation, Selection
from hamlet.simulator.report import RequestOutcome

_GRACE_S = 1.0
_WORD = "word "


class InvariantViolation(AssertionError):
    """An invariant does not hold."""


def check(condition: object, what: str) -> None:
    """Raise InvariantViolation unless `condition` is true."""
    if not condition:
        raise InvariantViolation(what)


class CheckedLoadBalancer(LoadBalancer):
    """A load balancer that checks every reservation at its start and end.

    The first violation is kept until `check_settled`: raised inside a call, it would be taken for
    a failure of the adapter.
    """

    def __init__(self, clock: Callable[[], float], rng: random.Random) -> None:
        super().__init__(clock, rng)
        self.open_reservations: set[Reservation] = set()
        self._open_probes: set[Reservation] = set()
        self._cooldowns: dict[str, float] = {}
        self._first_violation: str | None = None

    def reserve(self, selection: Selection, estimate: CostEstimate) -> Reservation:
        deployment, deployment_state = selection.deployment, selection.candidate.state
        self._check_selectable(selection)
        probing = any(b.candidate.deployment.id == deployment.id for b in self._open_probes)
        self._check(not (selection.is_probe and probing), f"two probes of {deployment.id} at once")
        reservation = super().reserve(selection, estimate)
        self.open_reservations.add(reservation)
        if reservation.is_probe:
            self._open_probes.add(reservation)
        self._check(
            deployment_state.in_flight >= 1,
            f"{deployment_state.deployment_id} has less than one call in flight",
        )
        return reservation

    def record_success(self, reservation: Reservation, tokens: float | None = None) -> None:
        # After the first content another probe may start while this stream continues.
        self._open_probes.discard(reservation)
        super().record_success(reservation, tokens)

    def settle(self, reservation: Reservation, *args: Any, **more: Any) -> None:
        super().settle(reservation, *args, **more)
        self.open_reservations.discard(reservation)
        self._open_probes.discard(reservation)
        deployment_state = reservation.candidate.state
        self._check(
            deployment_state.in_flight >= 0,
            f"{deployment_state.deployment_id} has less than no call in flight",
        )
        cost, calls = deployment_state.capacity_model.undrained_levels(self.clock())
        self._check(
            cost >= 0 and calls >= 0,
            f"the capacity model of {deployment_state.deployment_id} is below 0",
        )
        cooled = self._cooldowns.get(deployment_state.deployment_id, 0.0)
        self._check(deployment_state.cooldown_until >= cooled, "a cooldown got shorter")
        self._cooldowns[deployment_state.deployment_id] = deployment_state.cooldown_until

    def _check_selectable(self, selection: Selection) -> None:
        """Check that this deployment may be called at all."""
        deployment, deployment_state = selection.deployment, selection.candidate.state
        breaker = deployment_state.breaker
        is_unavailable = breaker.is_retry_futile(self.clock())
        self._check(
            not is_unavailable, f"{deployment.id} is open for {breaker.reason} and was called"
        )

    def _check(self, condition: object, what: str) -> None:
        if not condition:
            self._first_violation = self._first_violation or what

    def check_settled(self) -> None:
        """Check that nothing is in flight. Raises InvariantViolation, also for an earlier one."""
        check(self._first_violation is None, self._first_violation or "")
        check(
            not self.open_reservations, f"{len(self.open_reservations)} attempts were never settled"
        )
        for deployment_state in self.deployment_states.values():
            check(
                deployment_state.in_flight == 0,
                f"{deployment_state.deployment_id} keeps calls in flight",
            )
            check(
                not deployment_state.is_outlier(self.clock() + 1e9),
                f"{deployment_state.deployment_id} has pending first tokens",
            )
            level = deployment_state.capacity_model.undrained_levels(self.clock() + 1e6)
            check(
                level == (0.0, 0.0),
                f"the capacity model of {deployment_state.deployment_id} stays at {level}",
            )
        for route_state in self._route_states.values():
            budget = route_state.retry_budget
            check(
                budget.in_flight == budget.retries_in_flight == 0, "a budget keeps calls or retries"
            )


class Invariants(Observer):
    """An observer, and the hooks of a run. Each raises InvariantViolation.

    Attempts that fail, but for 429s and hedges, are at most the policy's; nobody is asked twice in
    one call, unless it had been full or may be asked again; nothing follows what is the caller's
    fault; no call causes more than its bound; an answer is of one piece and ends once, in time.
    """

    def __init__(self, routes: dict[str, Route]) -> None:
        self._routes = routes
        self._attempts: dict[str, list[Attempt]] = defaultdict(list)
        self._word_counts: Counter[str] = Counter()
        self._response_ids: dict[str, set[str]] = defaultdict(set)
        self._end_counts: Counter[str] = Counter()

    # -- observer

    def on_attempt(self, record: CallRecord, attempt: Attempt) -> None:
        route, attempts = self._routes[record.route], self._attempts[record.request_id]
        self._check_order(route, attempts, attempt)
        attempts.append(attempt)
        deployment, allowed_regions = attempt.deployment, route.residency
        is_resident = (
            not allowed_regions
            or deployment.region in allowed_regions
            or deployment.data_zone in allowed_regions
        )
        check(is_resident, f"{deployment.id} is outside {sorted(allowed_regions)}")
        failed = [
            a for a in attempts if a.error is not None and not isinstance(a.error, RateLimited)
        ]
        hedges = sum(a.reason == "hedge" for a in attempts)
        max_failed = route.policy.attempts + hedges
        check(len(failed) <= max_failed, f"{len(failed)} failed attempts, {max_failed} are allowed")
        max_calls = route.policy.max_upstream_calls
        check(len(attempts) <= max_calls, f"{len(attempts)} upstream calls of {max_calls} allowed")

    def on_end(self, record: CallRecord) -> None:
        self._end_counts[record.request_id] += 1
        check(self._end_counts[record.request_id] == 1, f"{record.request_id} ended twice")

    def _check_order(self, route: Route, attempts: list[Attempt], attempt: Attempt) -> None:
        if attempt.reason == "hedge":
            return
        last = next((a for a in reversed(attempts) if a.reason != "hedge"), None)
        if last is not None and last.error is not None and not last.cancelled:
            check(_allows_next_attempt(route, last.error), f"an attempt followed {last.error.code}")
        before = [a for a in attempts if a.deployment.id == attempt.deployment.id]
        if before and not before[-1].cancelled:
            error = before[-1].error
            is_repeatable = isinstance(error, RateLimited) or (
                error is not None and error.repeatable
            )
            check(is_repeatable, f"{attempt.deployment.id} was called twice in one call")

    # -- hooks of the run

    def on_item(self, request_id: str, item: Any) -> None:
        """Check an item that a client receives."""
        if isinstance(item, NativeChunk):
            text = item.data.decode("utf-8", "replace")
            self._word_counts[request_id] += text.count(_WORD)
            self._response_ids[request_id] |= {
                part.partition('"')[0] for part in text.split('"id":"sim-')[1:]
            }
        elif isinstance(item, TextDelta):
            self._word_counts[request_id] += item.text.count(_WORD)
        check(
            len(self._response_ids[request_id]) <= 1,
            f"two answers in one: {self._response_ids[request_id]}",
        )

    def on_outcome(self, outcome: RequestOutcome) -> None:
        """Check the outcome of a call."""
        id_, words = outcome.request_id, self._word_counts[outcome.request_id]
        check(self._end_counts[id_] == 1, f"{id_} ended {self._end_counts[id_]} times")
        check(
            words <= outcome.arrival.output_tokens,
            f"{words} tokens, {outcome.arrival.output_tokens} were generated",
        )
        if outcome.ok and outcome.output_tokens:
            check(
                words == outcome.output_tokens,
                f"{words} tokens came, {outcome.output_tokens} are counted",
            )
        limit = outcome.deadline_s
        if limit is not None:
            check(outcome.duration_s <= limit + _GRACE_S, f"{id_} took {outcome.duration_s:.1f} s")


def _allows_next_attempt(route: Route, error: ProviderError) -> bool:
    is_filtered = error.code == "content_filter" and route.policy.content_filter == "failover"
    is_too_long = error.code == "context_length_exceeded"
    return error.try_other or error.repeatable or is_filtered or is_too_long


def checked_gateway_factory(
    max_in_flight: int,
) -> Callable[[RegistryHolder, Observers, Callable[[], float]], Gateway]:
    """A factory of gateways with a checked load balancer."""

    def make(holder: RegistryHolder, observers: Observers, clock: Callable[[], float]) -> Gateway:
        load_balancer = CheckedLoadBalancer(clock, random.Random(random.getrandbits(64)))
        return Gateway(holder, Admission(max_in_flight, clock), observers, load_balancer)

    return make
