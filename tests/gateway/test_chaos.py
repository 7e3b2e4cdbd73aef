"""Seeds of chaos, and that the invariants would notice. `make chaos` plays ten thousand."""

import pytest

from hamlet.config import loads
from hamlet.core import NativeChunk, TextDelta
from hamlet.gateway.hunt import Hunt
from hamlet.routing import Fleet
from hamlet.routing.circuit_breaker import Breaker
from hamlet.routing.deployment_state import Condition
from hamlet.routing.retry_budget import RetryBudget
from hamlet.simulator import Fault
from hamlet.simulator import virtual_time as virtual
from hamlet.simulator.fuzz import fleet as chaos_fleet
from hamlet.simulator.fuzz import fuzz, play
from hamlet.simulator.harness import Plan, simulate
from hamlet.simulator.invariants import Broken, Invariants
from hamlet.simulator.report import Outcome
from hamlet.simulator.traces import Arrival

HELD = """
providers: {one: {kind: openai, base_url: "http://simulated/one/v1"}}
routes: {chat: {deployments: [{provider: one, model: gpt-4o, ptu: 1000}], policy: {hold_back: true}}}
"""


@pytest.mark.parametrize("first", [0, 200])
def test_whatever_happens_the_invariants_hold(first: int) -> None:
    ends = []
    for seed in range(first, first + 20):
        ends += fuzz(seed).outcomes
    assert len(ends) > 400
    assert sum(o.ok for o in ends) > 250
    assert sum(o.left for o in ends) > 20
    assert len({o.error.code for o in ends if o.error}) > 3


def _settles_nothing_that_is_called_off(self, booking) -> None:
    return


def _forgets_whom_it_asked(self, avoided=frozenset()):
    return self._fleet.look(self._demand)


def _takes_the_last_word(self, seconds: float, now: float) -> None:
    self.cooldown_until = now + seconds / 10**self.throttles


def test_a_fault_of_ours_is_noticed_and_its_seed_told(monkeypatch) -> None:
    monkeypatch.setattr(Fleet, "cancelled", _settles_nothing_that_is_called_off)
    with pytest.raises(Broken, match="never settled") as broken:
        for seed in range(20):
            fuzz(seed)
    assert any("with seed" in note for note in broken.value.__notes__)


@pytest.mark.parametrize(
    ("owner", "name", "sabotage", "fault", "noticed"),
    [
        (Hunt, "_look", _forgets_whom_it_asked, Fault("html"), "asked twice"),
        (
            Hunt, "_worth_elsewhere", lambda self, error, here: True,
            Fault("status", status=400), "an attempt followed invalid_request",
        ),
        (
            Condition, "cool_down", _takes_the_last_word,
            Fault("status", status=429, chance=0.5), "a cooldown got shorter",
        ),
        (RetryBudget, "done", lambda self: None, Fault("status", status=500), "keeps calls or retries"),
        (
            Breaker, "start_probe", lambda self, now: None,
            Fault("dead", to_s=1.0), "two probes of .* at once",
        ),
    ],
    ids=["tries", "the caller's fault", "cooldowns", "budget", "probes"],
)  # fmt: skip
def test_what_breaks_an_invariant_is_noticed(
    monkeypatch, owner, name, sabotage, fault, noticed
) -> None:
    monkeypatch.setattr(owner, name, sabotage)
    fleet, specs = chaos_fleet()
    arrivals = [Arrival(at + i / 1000, 100, 10, "chat") for at in (0, 14) for i in range(15)]
    with pytest.raises(Broken, match=noticed):
        virtual.run(play(fleet, specs, arrivals, Plan(), [fault], 1), 1)


def ended(**more) -> Invariants:
    rules = Invariants({})
    rules._ended["c"] = 1
    return rules


def test_a_token_that_comes_twice_or_from_another_answer_is_noticed() -> None:
    rules = ended()
    rules.on_item(
        "c", NativeChunk(b'data: {"id":"sim-a-1","choices":[{"delta":{"content":"word word "}}]}')
    )
    outcome = Outcome(Arrival(0, 10, 3), 0.0, ok=True, output=3, request_id="c")
    with pytest.raises(Broken, match="2 tokens came, 3 are counted"):
        rules.on_outcome(outcome)
    rules.on_item("c", TextDelta(0, "word word "))
    with pytest.raises(Broken, match="4 tokens, 3 were said"):
        rules.on_outcome(outcome)
    with pytest.raises(Broken, match="two answers in one"):
        rules.on_item("c", NativeChunk(b'data: {"id":"sim-b-7","choices":[]}'))


def test_a_call_that_ends_late_or_never_is_noticed() -> None:
    outcome = Outcome(Arrival(0, 10, 3), 0.0, 5.0, duration_s=6.5, request_id="c")
    with pytest.raises(Broken, match=r"c took 6\.5 s"):
        ended().on_outcome(outcome)
    with pytest.raises(Broken, match="ended 0 times"):
        Invariants({}).on_outcome(outcome)


def test_an_answer_that_is_held_back_keeps_to_its_deadline() -> None:
    """Chaos, seed 205: the time to the first token came on top of the deadline."""
    slow = Fault("slow", factor=4)
    plan = Plan(deadline_s=lambda arrival: 3.0)
    report = simulate(loads(HELD), [Arrival(0, 100, 100)], seed=1, faults=[slow], plan=plan)
    (outcome,) = report.outcomes
    assert not outcome.ok
    assert outcome.duration_s == pytest.approx(3.0, abs=0.1)
