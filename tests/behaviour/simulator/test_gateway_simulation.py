"""The real gateway over a simulated fleet, on virtual time."""

import asyncio
from dataclasses import replace

import pytest

from hamlet.config import loads
from hamlet.core.errors import ProviderError
from hamlet.simulator import Fault, SimulatedDeployment
from hamlet.simulator import virtual_time as virtual
from hamlet.simulator.arrival_traces import Arrival, generate_trace
from hamlet.simulator.configuration import example_fleet, simulated_deployments
from hamlet.simulator.harness import SimulationRun, TrafficPlan, simulate
from hamlet.simulator.report import SimulationReport

FLEET = loads(example_fleet(9))
TRACE = generate_trace(3, 60, rpm=250)


def outcome_rows(report: SimulationReport) -> list[tuple]:
    return [
        (o.arrival, o.ok, o.ttft_s, o.duration_s, o.deployment, o.attempts) for o in report.outcomes
    ]


def test_all_calls_succeed_without_faults() -> None:
    report = simulate(FLEET, TRACE[:100], seed=1)
    assert (report.success_ratio, report.errors) == (1.0, {})
    assert report.attempts == sum(o.attempts for o in report.outcomes) >= 100
    assert 0.3 < report.ttft_s(0.5) < 1.0 < report.ttft_s(0.99) < 10
    assert report.goodput_tokens == sum(a.output_tokens for a in TRACE[:100])
    answered = sum(state["answered"] for state in report.final_state.values())
    assert answered == 100
    assert sum(report.share_by_tier.values()) == pytest.approx(1.0)
    assert "100 requests, success 100.000%" in report.summary()


@pytest.mark.slow
def test_the_same_seed_gives_the_same_run_and_another_another() -> None:
    faults = [Fault("status", chance=0.2), Fault("reset", chance=0.1, after=1)]
    one, same, other = (
        outcome_rows(simulate(FLEET, TRACE, seed=s, faults=faults)) for s in (1, 1, 2)
    )
    assert one == same
    assert one != other


def test_records_measure_by_the_clock_that_the_gateway_was_given() -> None:
    class Notes:
        def __init__(self) -> None:
            self.first_token_s: dict[str, float] = {}

        def on_start(self, record) -> None:
            return

        def on_attempt(self, record, attempt) -> None:
            return

        def on_end(self, record) -> None:
            self.first_token_s[record.request_id] = record.first_token_s

    notes = Notes()
    report = simulate(FLEET, TRACE[:30], seed=1, observers=[notes])
    seen = sorted(o.ttft_s for o in report.outcomes)
    assert sorted(notes.first_token_s.values()) == pytest.approx(seen)
    assert min(seen) > 0.1


def test_calls_that_are_not_streamed_are_simulated_too() -> None:
    report = simulate(FLEET, TRACE[:50], seed=1, plan=TrafficPlan(stream=False))
    assert report.success_ratio == 1.0
    assert report.ttft_s(0.5) > 1.0


def test_a_fleet_that_is_down_fails_with_its_errors_and_attempts_counted() -> None:
    report = simulate(FLEET, TRACE[:30], seed=1, faults=[Fault("status", status=500)])
    assert report.success_ratio == 0.0
    assert report.errors.total() == 30
    assert report.attempt_errors["upstream_unavailable"] == report.attempts > 30
    assert (report.rate_limited_count, report.share_by_tier, report.ttft_s(0.5)) == (0, {}, 0.0)


def test_capacity_rejections_are_counted_separately() -> None:
    # Shallower than anybody who plans by the configuration would think.
    shallow = [
        replace(spec, capacity=replace(spec.capacity, depth_s=1.0)) if spec.kind == "ptu" else spec
        for spec in simulated_deployments(FLEET.config)
    ]
    report = simulate(
        FLEET, [Arrival(t / 20, 1500, 100) for t in range(300)], seed=1, specs=shallow
    )
    refused = sum(state["refused"] for state in report.final_state.values())
    assert report.rate_limited_count == report.attempt_errors["rate_limited"] == refused > 0
    assert report.rate_limited_ratio == refused / report.attempts


def test_faults_apply_at_configured_time_and_place() -> None:
    arrivals = [Arrival(float(t), 10, 5) for t in range(60)]
    down = Fault("dead", 20, 40, at=("asia", "eu", "us"))
    report = simulate(FLEET, arrivals, seed=1, faults=[down])
    times = [o.started_s for o in report.outcomes if o.tier in (0, 1)]
    assert times
    assert not [t for t in times if 20 <= t < 40]
    assert report.success_ratio > 0.5


def test_deadlines_are_passed_to_the_gateway_and_kept() -> None:
    slow = [Fault("silent")]
    plan = TrafficPlan(deadline_s=lambda arrival: 5.0)
    # Virtual time does not reach a gateway that measures with a clock of its own: what cuts these
    # calls off is a timer of the loop.
    report = simulate(FLEET, TRACE[:5], seed=1, faults=slow, plan=plan)
    assert report.success_ratio == 0.0
    assert all(o.deadline_s == 5.0 for o in report.outcomes)
    late = report.past_deadline(grace_s=0.0)
    assert {id(o) for o in late} == {id(o) for o in report.outcomes if o.duration_s > 5.0}


def test_every_end_is_shown_to_a_hook_and_a_broken_invariant_ends_the_run() -> None:
    seen = []
    simulate(FLEET, TRACE[:20], seed=1, on_outcome=seen.append)
    assert len(seen) == 20

    class Strict:
        def on_start(self, record) -> None:
            return

        def on_attempt(self, record, attempt) -> None:
            assert not isinstance(attempt.error, ProviderError), "an attempt failed"

        def on_end(self, record) -> None:
            return

    with pytest.raises(AssertionError, match="an attempt failed"):
        simulate(FLEET, TRACE[:20], seed=1, observers=[Strict()], faults=[Fault("dead")])
    simulate(FLEET, TRACE[:3], seed=1, observers=[Strict()])

    def refuse(outcome) -> None:
        raise AssertionError("an outcome is wrong")

    with pytest.raises(AssertionError, match="an outcome is wrong"):
        simulate(FLEET, TRACE[:20], seed=1, on_outcome=refuse)


def test_what_is_true_of_a_deployment_may_differ_from_what_is_configured() -> None:
    text = """
providers: {one: {kind: openai, base_url: "http://simulated/one/v1"}}
routes: {chat: {deployments: [{provider: one, model: gpt-4o, ptu: 1000}]}}
"""
    honest = simulate(loads(text), TRACE[:30], seed=1)
    assert honest.success_ratio == 1.0
    other = [SimulatedDeployment("one", "another-model")]
    report = simulate(loads(text), TRACE[:30], seed=1, specs=other)
    assert set(report.attempt_errors) == {"upstream_model_missing"}


def test_faults_may_change_while_a_run_goes_on() -> None:
    async def main() -> SimulationReport:
        run = SimulationRun(FLEET, seed=1)

        async def heal() -> None:
            await asyncio.sleep(5)
            run.world.set_faults([])

        run.world.set_faults([Fault("status", status=500)])
        healing = asyncio.create_task(heal())
        report = await run.replay([Arrival(t / 2, 10, 5) for t in range(240)])
        await healing
        await run.registry.aclose()
        return report

    report = virtual.run(main(), 1)
    assert not any(o.ok for o in report.outcomes if o.started_s < 4)
    assert all(o.ok for o in report.outcomes if o.started_s > 60)
