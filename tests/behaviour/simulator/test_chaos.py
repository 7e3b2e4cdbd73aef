"""Seeds of chaos, and that the invariants would notice. `make chaos` plays ten thousand."""

import pytest

from hamlet.config import loads
from hamlet.core import NativeChunk, TextDelta
from hamlet.gateway.retry_state import RetryState
from hamlet.gateway.selector import Selector
from hamlet.routing import LoadBalancer
from hamlet.routing.circuit_breaker import CircuitBreaker
from hamlet.routing.deployment_state import DeploymentState
from hamlet.routing.retry_budget import RetryBudget
from hamlet.simulator import Fault
from hamlet.simulator import virtual_time as virtual
from hamlet.simulator.arrival_traces import Arrival
from hamlet.simulator.fuzz import fuzz, run_checked
from hamlet.simulator.fuzz import fuzz_fleet as chaos_fleet
from hamlet.simulator.harness import TrafficPlan, simulate
from hamlet.simulator.invariants import Invariants, InvariantViolation
from hamlet.simulator.report import RequestOutcome

HELD_BACK_CONFIG = """
providers: {one: {kind: openai, base_url: "http://simulated/one/v1"}}
routes: {chat: {deployments: [{provider: one, model: gpt-4o, ptu: 1000}], policy: {hold_back: true}}}
"""


@pytest.mark.parametrize("first", [0, 200])
def test_invariants_hold_under_random_faults(first: int) -> None:
    ends = []
    for seed in range(first, first + 20):
        ends += fuzz(seed).outcomes
    assert len(ends) > 400
    assert sum(o.ok for o in ends) > 250
    assert sum(o.client_disconnected for o in ends) > 20
    assert len({o.error.code for o in ends if o.error}) > 3


def _skip_settle_on_cancel(self, booking) -> None:
    return


def _select_without_history(self, avoided=frozenset()):
    return self.load_balancer.build_context(self.cost_estimate)


def _overwrite_cooldown(self, seconds: float, now: float) -> None:
    self.cooldown_until = now + seconds / 10**self.consecutive_throttles


def test_internal_error_is_detected_with_seed(monkeypatch) -> None:
    monkeypatch.setattr(LoadBalancer, "cancel", _skip_settle_on_cancel)
    with pytest.raises(InvariantViolation, match="never settled") as broken:
        for seed in range(20):
            fuzz(seed)
    assert any("with seed" in note for note in broken.value.__notes__)


@pytest.mark.parametrize(
    ("owner", "name", "sabotage", "fault", "noticed"),
    [
        (Selector, "_selection_context", _select_without_history, Fault("html"), "called twice"),
        (
            RetryState, "_is_failover_useful", lambda self, error, here: True,
            Fault("status", status=400), "an attempt followed invalid_request",
        ),
        (
            DeploymentState, "cool_down", _overwrite_cooldown,
            Fault("status", status=429, chance=0.5), "a cooldown got shorter",
        ),
        (RetryBudget, "end_retry", lambda self: None, Fault("status", status=500), "keeps calls or retries"),
        (
            CircuitBreaker, "start_probe", lambda self, now: None,
            Fault("dead", to_s=1.0), "two probes of .* at once",
        ),
    ],
    ids=["tries", "the caller's fault", "cooldowns", "budget", "probes"],
)  # fmt: skip
def test_invariant_violation_is_detected(
    monkeypatch, owner, name, sabotage, fault, noticed
) -> None:
    monkeypatch.setattr(owner, name, sabotage)
    fleet, specs = chaos_fleet()
    arrivals = [Arrival(at + i / 1000, 100, 10, "chat") for at in (0, 14) for i in range(15)]
    with pytest.raises(InvariantViolation, match=noticed):
        virtual.run(run_checked(fleet, specs, arrivals, TrafficPlan(), [fault], 1), 1)


def invariants_after_end(**more) -> Invariants:
    rules = Invariants({})
    rules._end_counts["c"] = 1
    return rules


def test_a_token_that_comes_twice_or_from_another_answer_is_noticed() -> None:
    rules = invariants_after_end()
    rules.on_item(
        "c", NativeChunk(b'data: {"id":"sim-a-1","choices":[{"delta":{"content":"word word "}}]}')
    )
    outcome = RequestOutcome(Arrival(0, 10, 3), 0.0, ok=True, output_tokens=3, request_id="c")
    with pytest.raises(InvariantViolation, match="2 tokens came, 3 are counted"):
        rules.on_outcome(outcome)
    rules.on_item("c", TextDelta(0, "word word "))
    with pytest.raises(InvariantViolation, match="4 tokens, 3 were generated"):
        rules.on_outcome(outcome)
    with pytest.raises(InvariantViolation, match="two answers in one"):
        rules.on_item("c", NativeChunk(b'data: {"id":"sim-b-7","choices":[]}'))


def test_a_call_that_ends_late_or_never_is_noticed() -> None:
    outcome = RequestOutcome(Arrival(0, 10, 3), 0.0, 5.0, duration_s=6.5, request_id="c")
    with pytest.raises(InvariantViolation, match=r"c took 6\.5 s"):
        invariants_after_end().on_outcome(outcome)
    with pytest.raises(InvariantViolation, match="ended 0 times"):
        Invariants({}).on_outcome(outcome)


def test_an_answer_that_is_held_back_keeps_to_its_deadline() -> None:
    """Chaos, seed 205: the time to the first token came on top of the deadline."""
    slow = Fault("slow", factor=4)
    plan = TrafficPlan(deadline_s=lambda arrival: 3.0)
    report = simulate(
        loads(HELD_BACK_CONFIG), [Arrival(0, 100, 100)], seed=1, faults=[slow], plan=plan
    )
    (outcome,) = report.outcomes
    assert not outcome.ok
    assert outcome.duration_s == pytest.approx(3.0, abs=0.1)
