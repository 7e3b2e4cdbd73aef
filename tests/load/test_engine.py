"""The load engine: schedules, samples, validity, checks, reports."""

import asyncio
import math
import random
import re
from dataclasses import replace

import pytest
from pydantic import ValidationError

from loadtest.__main__ import main
from loadtest.engine import comparison as compare
from loadtest.engine.open_loop import LoadTarget, run_open_loop
from loadtest.engine.quantiles import quantile
from loadtest.engine.report import in_flight, per_second, write_report
from loadtest.engine.results import ResourceSample, RunResult, Sample
from loadtest.engine.scenario import Check, LoadStep, load_scenarios
from loadtest.engine.schedule import ScheduledRequest, build_schedule, poisson_arrivals
from loadtest.tools import generate
from support.raw_upstream import OK, RawUpstream, ServerConnection

HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
CONTENT = b'data: {"choices":[{"delta":{"content":"a"}}]}\n\n'


def encode_chunk(data: bytes) -> bytes:
    return b"%x\r\n%s\r\n" % (len(data), data)


def make_shots(*more: ScheduledRequest, count: int = 0) -> list[ScheduledRequest]:
    return [*more, *(ScheduledRequest(i, i * 0.01, False, False, 10, 10) for i in range(count))]


def make_run(samples: list[Sample], **more) -> RunResult:
    fields = {
        "scenario": "peak", "size": "ci", "seed": 1, "target": "t", "machine": "m", "commit": "c",
        "started_at": "now", "length_s": 3.0, "steps": [(0.0, 10.0, 3.0)], "looks": [],
    }  # fmt: skip
    return RunResult(samples=samples, **{**fields, **more})


def make_sample(number: int, latency: float = 0.1, outcome: str = "ok", **more) -> Sample:
    at = number * 0.01
    whole = {"sent": at, "first": at + latency / 2, "last": at + latency}
    return Sample(number, "target", at, outcome=outcome, **{**whole, **more})


# -- schedules


def test_schedule_depends_only_on_seed(tmp_path) -> None:
    for scenario in load_scenarios().values():
        first = build_schedule(scenario, "ci", 3, tmp_path)
        assert first == build_schedule(scenario, "ci", 3, tmp_path)
        assert first != build_schedule(scenario, "ci", 4, tmp_path) or scenario.trace
        times = [shot.at_s for shot in first]
        assert times == sorted(times)
        assert times[0] >= 0
        assert times[-1] < scenario.length_s("ci")


@pytest.mark.parametrize(
    ("step", "expected"),
    [
        (LoadStep(rate=12.5, seconds=1200), 15_000),
        (LoadStep(rate=0, to=20, seconds=1000), 10_000),
        (LoadStep(rate=20, to=0, seconds=1000), 10_000),
        (LoadStep(rate=0, seconds=100), 0),
    ],
)
def test_number_of_arrivals_matches_rate(step: LoadStep, expected: int) -> None:
    times = list(poisson_arrivals(step, random.Random(1)))
    assert abs(len(times) - expected) <= 4 * math.sqrt(expected)
    half = sum(at < step.seconds / 2 for at in times)
    mean = (step.rate + (step.rate + step.end_rate) / 2) / 2 * step.seconds / 2
    assert abs(half - mean) <= 4 * math.sqrt(mean) + 1


def test_trace_is_replayed_unchanged(tmp_path) -> None:
    rows = "arrival_s,prompt_tokens,completion_tokens,class\n0.5,10,20,chat\n2.9,11,21,chat\n3.1,1,1,x\n"
    (tmp_path / "azure2023_mix_750rpm.csv").write_text(rows)
    replayed = build_schedule(load_scenarios()["replay"], "ci", 1, tmp_path)
    assert [(s.at_s, s.prompt_tokens, s.output_tokens) for s in replayed] == [
        (0.5, 10, 20),
        (2.9, 11, 21),
    ]


def test_unknown_scenario_key_is_an_error(tmp_path) -> None:
    file = tmp_path / "s.toml"
    file.write_text('[a]\nabout = ""\nci = []\nfull = []\nchecks = []\nspeed = 3\n')
    with pytest.raises(ValidationError, match="speed"):
        load_scenarios(file)
    with pytest.raises(ValidationError, match="exactly one"):
        Check(figure="p50_ms", at_most=1, at_least=1)


def test_every_check_names_a_figure() -> None:
    known = make_run([]).figures().keys()
    for scenario in load_scenarios().values():
        assert {check.figure for check in scenario.checks} <= known


# -- sending


async def collect_samples(script, *planned: ScheduledRequest) -> list[Sample]:
    async with RawUpstream(script) as upstream:
        samples, _ = await run_open_loop(planned, [LoadTarget("target", upstream.url, "k", "m")])
    return samples


@pytest.mark.parametrize(
    ("answer", "stream", "outcome"),
    [
        (OK, False, "ok"),
        (HEAD + encode_chunk(CONTENT) + encode_chunk(b"data: [DONE]\n\n") + b"0\r\n\r\n", True, "ok"),
        (HEAD + encode_chunk(CONTENT) + b"0\r\n\r\n", True, "no end"),
        (HEAD + encode_chunk(CONTENT), True, "stream: UpstreamUnavailable"),
        (HEAD + encode_chunk(b'data: {"error":{"message":"x"}}\n\n') + b"0\r\n\r\n", True, "error in the stream"),
        (b"HTTP/1.1 429 X\r\nretry-after: 1\r\ncontent-length: 0\r\n\r\n", True, "status 429"),
        (b"", False, "open: UpstreamUnavailable"),
    ],
)  # fmt: skip
async def test_every_response_has_an_outcome(answer: bytes, stream: bool, outcome: str) -> None:
    async def script(peer: ServerConnection, _: int) -> None:
        if (await peer.read_request()).startswith(b"POST"):
            await peer.send(answer)

    (only,) = await collect_samples(script, ScheduledRequest(0, 0.0, stream, False, 10, 10))
    assert only.outcome == outcome
    assert only.says_when == (outcome == "status 429")
    assert only.intended <= only.sent <= only.last
    assert math.isnan(only.first) == (
        outcome not in ("ok", "no end", "stream: UpstreamUnavailable")
    )


async def test_slow_target_does_not_delay_arrivals_and_latency_counts_from_schedule() -> None:
    async def script(peer: ServerConnection, _: int) -> None:
        await peer.read_request()
        await asyncio.sleep(0.3)
        await peer.send(OK)

    samples = await collect_samples(script, *make_shots(count=20))
    assert all(s.outcome == "ok" for s in samples)
    # All were in flight at once: none waited for a response before it was sent.
    assert max(s.sent for s in samples) < min(s.last for s in samples)
    assert all(s.latency >= 0.3 for s in samples)
    late = replace(samples[0], intended=samples[0].intended - 1)
    assert late.latency == pytest.approx(samples[0].latency + 1)


async def test_late_sender_aborts_if_allowed() -> None:
    async def script(peer: ServerConnection, _: int) -> None:
        await peer.read_request()
        await peer.send(OK)

    planned = [ScheduledRequest(i, -5.0, False, False, 10, 10) for i in range(3)]
    async with RawUpstream(script) as upstream:
        side = LoadTarget("target", upstream.url, "k", "m")
        assert (await run_open_loop(planned, [side], abort_lag_s=1.0))[0] == []
        assert len((await run_open_loop(planned, [side]))[0]) == 3


async def test_client_disconnect_is_no_failure() -> None:
    left = asyncio.Event()

    async def script(peer: ServerConnection, _: int) -> None:
        if (await peer.read_request()).startswith(b"POST"):
            await peer.send(HEAD + encode_chunk(CONTENT))
            await peer.reader.read()
            left.set()

    (only,) = await collect_samples(script, ScheduledRequest(0, 0.0, True, True, 10, 10))
    assert only.outcome == "left"
    assert make_run([only]).figures()["failed_share"] == 0


# -- figures and checks


def test_quantiles_are_exact_and_leave_out_missing_values() -> None:
    values = [float(v) for v in range(1, 101)]
    assert [quantile(values, q) for q in (0.5, 0.99, 1.0)] == [50, 99, 100]
    assert quantile([math.nan], 0.5) is None


def test_lagging_sender_or_lost_arrival_makes_run_invalid() -> None:
    fine = [make_sample(i) for i in range(100)]
    assert make_run(fine).invalid is None
    assert "lagged" in (make_run([replace(s, sent=s.intended + 0.03) for s in fine]).invalid or "")
    assert "never sent" in (make_run([*fine, Sample(1, "target", 0.0)]).invalid or "")
    assert "neither" in (make_run([replace(fine[0], outcome="unfinished")]).invalid or "")


def test_rejection_with_retry_after_is_excused() -> None:
    run_ = make_run(
        [
            make_sample(0),
            make_sample(1, outcome="status 503", says_when=True),
            make_sample(2, outcome="status 429"),
        ]
    )
    figures = run_.figures()
    assert figures["failed_share"] == pytest.approx(2 / 3)
    assert figures["unexcused_share"] == pytest.approx(1 / 3)


def test_overhead_is_the_difference_of_the_two_sides() -> None:
    through = [make_sample(i, 0.2) for i in range(50)]
    direct = [replace(make_sample(i, 0.15), side="direct") for i in range(50)]
    assert make_run(through + direct).figures()["overhead_p95_ms"] == pytest.approx(50)
    assert make_run(through).figures()["overhead_p95_ms"] is None


def test_knee_is_last_sustained_step() -> None:
    steps = [(0.0, 10.0, 1.0), (1.0, 20.0, 1.0), (2.0, 40.0, 1.0)]
    samples = [make_sample(i) for i in range(200)] + [make_sample(250, outcome="status 503")]
    assert make_run(samples, steps=steps).figures()["knee_rpm"] == 1200
    slow = [replace(s, last=s.last + 1) if s.number > 100 else s for s in samples]
    assert make_run(slow, steps=steps).figures()["knee_rpm"] == 600


def test_requests_after_the_knee_do_not_make_run_invalid() -> None:
    steps = [(0.0, 100.0, 1.0), (1.0, 100.0, 1.0), (2.0, 100.0, 1.0)]
    late = [
        replace(s, sent=s.sent + 0.5, last=s.last + 0.5) for s in map(make_sample, range(100, 300))
    ]
    run_ = make_run([*map(make_sample, range(100)), *late], steps=steps, until_broken=True)
    assert run_.invalid is None
    assert run_.figures()["knee_rpm"] == 6000
    assert "lagged" in (replace(run_, until_broken=False).invalid or "")
    assert "lagged" in (make_run(late, steps=[(1.0, 100.0, 1.0)], until_broken=True).invalid or "")


def test_resource_growth_is_measured_at_its_lower_quartile() -> None:
    def looks(slope: float) -> list[ResourceSample]:
        return [
            ResourceSample(
                float(i), tasks=20 + slope * i + (i * 7 % 5) * 10, descriptors=40 + i * 3 % 30
            )
            for i in range(500)
        ]

    figures = make_run([], looks=looks(0)).figures()
    assert abs(figures["task_growth"] or 0) <= 5
    assert abs(figures["descriptor_growth"] or 0) <= 5
    assert (make_run([], looks=looks(0.1)).figures()["task_growth"] or 0) > 25
    assert make_run([], looks=[]).figures()["task_growth"] is None


def test_length_and_trace_can_be_chosen(tmp_path, capsys) -> None:
    soak = load_scenarios()["soak-10x"].with_length(0.5)
    assert soak.length_s("full") == 30
    assert load_scenarios()["replay"].with_length(2).length_s("full") == 120
    with pytest.raises(ValueError, match="steps of its own"):
        load_scenarios()["headroom"].with_length(1)
    for wrong in (
        ["run", "headroom", "--minutes", "1"],
        ["run", "peak", "--trace", str(tmp_path)],
        ["run", "replay", "--trace", str(tmp_path / "none.csv")],
    ):
        assert main([*wrong, "--out", str(tmp_path)]) == 2
    error_text = capsys.readouterr().err
    assert "steps of its own" in error_text
    assert "peak replays no trace" in error_text
    assert "none.csv: no such file" in error_text


def test_growth_is_measured_in_the_second_half() -> None:
    looks = [ResourceSample(float(i), i * 0.1, 100 + max(0, i - 50) / 3600, 9) for i in range(100)]
    figures = make_run([], looks=looks).figures()
    assert figures["rss_slope_mib_h"] == pytest.approx(1.0, rel=0.05)
    assert figures["descriptor_slope_h"] == pytest.approx(0.0)
    assert figures["cpu_share"] == pytest.approx(0.1)


def test_unknown_figure_fails_its_check() -> None:
    run_ = make_run([make_sample(0)])
    assert not run_.evaluate_checks([Check(figure="cpu_share", at_most=1)])
    assert run_.evaluate_checks(
        [Check(figure="failed_share", at_most=0), Check(figure="requests", at_least=1)]
    )
    assert not run_.evaluate_checks([Check(figure="requests", at_least=2)])


# -- reports


def test_saved_run_reads_back_and_its_report_is_self_contained(tmp_path) -> None:
    looks = [ResourceSample(float(i), i * 0.1, 80.0, 9, 1.5, 5.0) for i in range(3)]
    run_ = make_run(
        [*(make_sample(i) for i in range(50)), make_sample(60, outcome="<b>odd")], looks=looks
    )
    run_.evaluate_checks(
        [Check(figure="failed_share", at_most=0), Check(figure="p99_ms", at_least=1)]
    )
    run_.save(tmp_path / "r.json")
    assert RunResult.read(tmp_path / "r.json") == run_
    write_report(run_, tmp_path / "r.html")
    page = (tmp_path / "r.html").read_text()
    assert not re.search(r"(src|href)=|<script|<link|@import|<b>odd", page)
    assert page.count("<svg") >= 9
    assert "Infra spec" in page
    assert "fails" in page


def test_counts_per_second_and_in_flight_add_up() -> None:
    samples = [make_sample(i) for i in range(150)]
    assert sum(count for _, count in per_second(samples, "intended")) == 150
    assert in_flight(samples)[-1][1] == 0


def test_comparison_tells_change_from_no_change(tmp_path) -> None:
    rng = random.Random(1)
    a = make_run([make_sample(i, rng.uniform(0.1, 0.2)) for i in range(400)])
    b = make_run([make_sample(i, rng.uniform(0.1, 0.2) * 0.7) for i in range(400)])
    first, second = [s.latency for s in a.samples], [s.latency for s in b.samples]
    (changed,) = compare.quantile_changes(first, second, [0.5])
    middle, low, high = changed.relative
    assert low < middle < high < -0.2
    assert changed.absolute_ms[2] < -30
    (same,) = compare.quantile_changes(first, first, [0.5])
    assert same.relative[1] <= 0 <= same.relative[2]
    with pytest.raises(ValueError, match="nothing"):
        compare.quantile_changes([], first)
    summary = compare.write_comparison(a, b, tmp_path / "c.html")
    assert "latency p50: -" in summary
    assert "<svg" in (tmp_path / "c.html").read_text()
    with pytest.raises(ValueError, match="different schedules"):
        compare.write_comparison(a, replace(b, seed=2), tmp_path / "c.html")


# -- the other tools


def test_gatling_and_locust_files_are_current() -> None:
    for file, text in generate.render_files().items():
        assert file.read_text() == text, f"{file.name}: python -m loadtest generate"
    for name, scenario in load_scenarios().items():
        if not scenario.faults and not scenario.leave:
            steps = generate.build_profile(scenario)["steps"]
            assert [step["seconds"] for step in steps] == [s.length_s for s in scenario.full], name
