"""The smaller pieces of the simulator: asks, faults, traces, and worlds made of configurations."""

import random
import statistics
from collections import Counter
from itertools import pairwise

import pytest
import yaml

from hamlet.config import ConfigError, loads
from hamlet.simulator import (
    Fault,
    Payg,
    Ptu,
    SimulatedDeployment,
    World,
    load_latency,
    marker,
    parse_faults,
    random_faults,
)
from hamlet.simulator.arrival_traces import (
    Arrival,
    compress_trace,
    generate_trace,
    read_trace,
    slice_trace,
    write_trace,
)
from hamlet.simulator.configuration import (
    example_fleet,
    prepare_for_simulation,
    redirect_providers,
    simulated_deployments,
    simulated_registry,
)
from hamlet.simulator.faults import FAULT_KINDS, FaultSchedule
from hamlet.simulator.simulated_request import parse_request
from hamlet.testing.support import SilentLog

# -- asks


def test_a_marker_says_how_long_a_request_is() -> None:
    text = f"please {marker(1200, 80, 300)} now"
    request = parse_request(
        f'{{"model":"m","messages":[{{"content":"{text}"}}],"max_tokens":50}}'.encode()
    )
    assert (
        request.tokens.prompt_tokens,
        request.tokens.cached_tokens,
        request.tokens.max_output_tokens,
    ) == (
        1200,
        300,
        50,
    )
    assert request.output_length(150) == (50, True)


def test_the_last_marker_counts() -> None:
    text = marker(1, 1) + marker(7, 8)
    request = parse_request(f'{{"model":"m","messages":["{text}"]}}'.encode())
    assert (request.tokens.prompt_tokens, request.output_tokens) == (7, 8)


def test_without_a_marker_four_bytes_are_a_token() -> None:
    messages = '[{"role":"user","content":"' + "x" * 400 + '"}]'
    request = parse_request(f'{{"model":"m","messages":{messages}}}'.encode())
    assert request.tokens.prompt_tokens == len(messages) // 4
    assert request.output_length(150) == (150, False)
    assert parse_request(b'{"model":"m"}').tokens.prompt_tokens == 1


@pytest.mark.parametrize("body", [b"", b"[]", b"{", b'{"stream":"yes"}', b'{"model":"\xff"}'])
def test_what_is_no_request_is_refused(body) -> None:
    with pytest.raises(ValueError, match="no chat request"):
        parse_request(body)


# -- faults

DEPLOYMENT = SimulatedDeployment("d", region="eastus", zone="us")


def active_fault_kinds(
    schedule: FaultSchedule, now: float, spec: SimulatedDeployment = DEPLOYMENT
) -> list[str]:
    return [fault.kind for fault in schedule.select(spec, now, random.Random(1))]


def test_a_fault_lasts_from_its_beginning_until_its_end() -> None:
    schedule = FaultSchedule([Fault("dead", 10, 20)], now=100.0)
    assert [active_fault_kinds(schedule, 100.0 + t) for t in (9.9, 10, 19.9, 20)] == [
        [],
        ["dead"],
        ["dead"],
        [],
    ]


def test_replaced_faults_count_from_then() -> None:
    schedule = FaultSchedule([Fault("dead")])
    schedule.replace([Fault("reset", 0, 5)], now=50.0)
    assert (active_fault_kinds(schedule, 54.0), active_fault_kinds(schedule, 55.0)) == (
        ["reset"],
        [],
    )


@pytest.mark.parametrize("place", ["d", "d/gpt-4o", "gpt-4o", "eastus", "us"])
def test_a_fault_is_where_it_is_said_to_be(place) -> None:
    schedule = FaultSchedule([Fault("dead", at=(place, "elsewhere"))])
    assert active_fault_kinds(schedule, 0.0) == ["dead"]
    assert (
        active_fault_kinds(schedule, 0.0, SimulatedDeployment("e", "m", region="r", zone="z")) == []
    )


def test_a_flapping_fault_comes_and_goes() -> None:
    schedule = FaultSchedule([Fault("dead", 1.0, up_s=2.0, down_s=3.0)])
    seen = [bool(active_fault_kinds(schedule, t + 0.5)) for t in range(11)]
    assert seen == [False, False, False, True, True, True, False, False, True, True, True]


def test_chance_is_what_it_says() -> None:
    schedule, rng = FaultSchedule([Fault("dead", chance=0.3)]), random.Random(3)
    hits = sum(bool(schedule.select(DEPLOYMENT, 0.0, rng)) for _ in range(5000))
    assert hits / 5000 == pytest.approx(0.3, abs=0.02)


def test_slow_fault_combines_with_first_other_fault() -> None:
    faults = [Fault("slow"), Fault("dead"), Fault("reset"), Fault("slow"), Fault("spillover")]
    assert active_fault_kinds(FaultSchedule(faults), 0.0) == ["slow", "dead", "slow"]


def test_faults_are_read_from_json() -> None:
    (fault,) = parse_faults('[{"kind": "status", "status": 429, "at": ["d"], "to_s": 5}]')
    assert fault == Fault("status", to_s=5, at=("d",), status=429)
    with pytest.raises(ValueError, match="faults: "):
        parse_faults('[{"kind": "gremlins"}]')


def test_chaos_is_random_sound_and_the_same_for_the_same_seed() -> None:
    specs = [SimulatedDeployment(f"d{i}", region="r") for i in range(9)]
    one, same, other = (random_faults(random.Random(s), specs, 60.0, 400) for s in (1, 1, 2))
    assert one == same != other
    assert {fault.kind for fault in one} == set(FAULT_KINDS)
    assert {f.kind for f in random_faults(random.Random(1), specs, 60.0, kinds=["dead"])} == {
        "dead"
    }
    assert all(0 <= fault.from_s < fault.to_s <= 60 * 1.3 for fault in one)
    assert all(any(fault.applies_to(spec) for spec in specs) for fault in one)


# -- traces


def test_a_trace_is_read_as_it_was_written(tmp_path) -> None:
    arrivals = [Arrival(0.5, 10, 3, "chat"), Arrival(1.25, 20, 4, "short")]
    write_trace(tmp_path / "t.csv", arrivals)
    assert read_trace(tmp_path / "t.csv") == arrivals


def test_a_trace_needs_no_classes(tmp_path) -> None:
    (tmp_path / "t.csv").write_text("arrival_s,prompt_tokens,completion_tokens\n2.276,1266,13\n")
    assert read_trace(tmp_path / "t.csv") == [Arrival(2.276, 1266, 13)]


@pytest.mark.parametrize("row", ["x,1,1", "1,1", "1,-1,1", "nan,1,1", "1,1.5,1"])
def test_bad_row_is_reported_with_its_line(tmp_path, row) -> None:
    (tmp_path / "t.csv").write_text(f"arrival_s,prompt_tokens,completion_tokens\n0,1,1\n{row}\n")
    with pytest.raises(ValueError, match=r"t\.csv:3"):
        read_trace(tmp_path / "t.csv")


def test_a_trace_out_of_order_is_refused(tmp_path) -> None:
    write_trace(tmp_path / "t.csv", [Arrival(2, 1, 1), Arrival(1, 1, 1)])
    with pytest.raises(ValueError, match="not in order"):
        read_trace(tmp_path / "t.csv")


def test_time_is_compressed_and_cut() -> None:
    arrivals = [Arrival(float(t), 1, 1) for t in range(10)]
    assert [a.at_s for a in compress_trace(arrivals, 2)][:3] == [0.0, 0.5, 1.0]
    assert [a.at_s for a in slice_trace(arrivals, 4, 7)] == [0.0, 1.0, 2.0]


@pytest.mark.parametrize("seed", range(3))
def test_the_generated_trace_has_the_shape_of_production(seed) -> None:
    trace = generate_trace(seed)
    assert len(trace) == 15_000
    assert [a.at_s for a in trace] == sorted(a.at_s for a in trace)
    assert trace[-1].at_s < 1200
    chat, short = ([a for a in trace if a.kind == kind] for kind in ("chat", "short"))
    assert (len(chat), len(short)) == (11_471, 3_529)

    def median(rows, field) -> float:
        return statistics.median(getattr(row, field) for row in rows)

    assert median(chat, "prompt_tokens") == pytest.approx(1001, rel=0.06)
    assert median(chat, "output_tokens") == pytest.approx(114, rel=0.06)
    assert median(short, "prompt_tokens") == pytest.approx(1454, rel=0.06)
    assert median(short, "output_tokens") == pytest.approx(13, abs=1)
    # Tokens a minute: 1.01 M in and 0.116 M out in the data.
    assert sum(a.prompt_tokens for a in trace) / 20 == pytest.approx(1.012e6, rel=0.05)
    assert sum(a.output_tokens for a in trace) / 20 == pytest.approx(0.116e6, rel=0.06)


@pytest.mark.parametrize("seed", range(3))
def test_generated_chat_is_nearly_poisson_and_short_requests_come_in_bursts(seed) -> None:
    trace = generate_trace(seed)

    def gaps_cv(kind: str) -> float:
        times = [a.at_s for a in trace if a.kind == kind]
        gaps = [b - a for a, b in pairwise(times)]
        return statistics.pstdev(gaps) / statistics.mean(gaps)

    def per_second(kind: str) -> list[int]:
        counted = Counter(int(a.at_s) for a in trace if a.kind == kind)
        return [counted[second] for second in range(1200)]

    assert gaps_cv("chat") == pytest.approx(1.05, abs=0.15)
    assert per_second("chat").count(0) <= 3
    assert max(per_second("chat")) <= 30
    assert gaps_cv("short") > 7
    bursts = per_second("short")
    assert 650 <= bursts.count(0) <= 950
    assert 35 <= max(bursts) <= 75
    assert 0.6 <= statistics.correlation(bursts[:-1], bursts[1:]) <= 0.9


def test_the_worst_half_minutes_of_the_generated_trace_bring_about_twice_the_mean() -> None:
    peaks = []
    for seed in range(6):
        load = [0] * 1200
        for arrival in generate_trace(seed):
            load[int(arrival.at_s)] += arrival.prompt_tokens + 3 * arrival.output_tokens
        windows = sorted(sum(load[i : i + 30]) / 30 for i in range(1171))
        peaks.append(windows[int(0.99 * len(windows))] / statistics.mean(load))
    assert statistics.median(peaks) == pytest.approx(2.08, rel=0.15)


def test_the_same_seed_makes_the_same_trace() -> None:
    assert generate_trace(5, 60) == generate_trace(5, 60) != generate_trace(6, 60)
    assert len(generate_trace(5, 60, rpm=100)) == 100


def test_measured_latencies_are_read_by_provider(tmp_path) -> None:
    file = tmp_path / "calls.csv"
    file.write_text("provider,model_size,ttft_s,inter_token_s\na,70b,0.5,0.01\nb,13b,2.0,0.03\n")
    assert load_latency(file).samples == ((0.5, 0.01), (2.0, 0.03))
    assert load_latency(file, "b", "13b").samples == ((2.0, 0.03),)
    assert load_latency(file).slowed_by(2).samples == ((1.0, 0.02), (4.0, 0.06))
    with pytest.raises(ValueError, match="no call of c"):
        load_latency(file, "c")


# -- worlds from configurations

MIXED_CONFIG = """
providers:
  ptu: {kind: openai, base_url: "https://x.openai.azure.com/openai/v1", api_key: env:NOT_SET_1}
  old: {kind: openai, base_url: "https://y.test", api_version: 2024-10-21, auth: entra,
        tenant_id: t, client_id: c, client_secret: env:NOT_SET_2}
  vendor: {kind: openai}
  claude: {kind: anthropic, max_tokens: 99}
  vllm: {kind: openai_compatible, base_url: "http://gpu/v1"}
  here: {kind: embedded}
fleet: {home: eastus, redis: env:NOT_SET_3}
keys: [{name: k, secret: env:NOT_SET_4}]
routes:
  a:
    tiering: fleet
    deployments:
      - {provider: ptu, model: gpt-4o, ptu: 50, tpm_per_ptu: 1000, output_weight: 4, region: eastus, data_zone: us}
      - {provider: old, model: gpt-4o, tpm: 6000, rpm: 60}
      - {provider: claude, model: claude-x}
      - {provider: here, model: embedded-chat, local: true}
  b:
    tiers:
      - [{provider: vendor, model: gpt-5}, {provider: ptu, model: gpt-4o}]
      - [{provider: vllm, model: nova}]
  e: {operation: embeddings, deployments: [{provider: vendor, model: e}]}
"""


def test_a_configuration_becomes_a_world() -> None:
    specs = {spec.id: spec for spec in simulated_deployments(loads(MIXED_CONFIG).config)}
    assert list(specs) == [
        "ptu/gpt-4o",
        "old/gpt-4o",
        "claude/claude-x",
        "vendor/gpt-5",
        "vllm/nova",
    ]
    assert specs["ptu/gpt-4o"].capacity == Ptu(50, 1000, 4)
    assert (specs["ptu/gpt-4o"].region, specs["ptu/gpt-4o"].zone) == ("eastus", "us")
    assert specs["old/gpt-4o"].capacity == Payg(6000, 60)
    assert [spec.wire for spec in specs.values()] == [
        "azure", "azure", "anthropic", "openai", "openai",
    ]  # fmt: skip
    assert [spec.kind for spec in specs.values()] == ["ptu", "payg", *["vendor"] * 3]


def test_a_configuration_is_pointed_at_the_simulator_without_credentials() -> None:
    pointed = redirect_providers(yaml.safe_load(MIXED_CONFIG), "http://127.0.0.1:1")["providers"]
    urls = {name: row.get("base_url") for name, row in pointed.items()}
    assert urls == {
        "ptu": "http://127.0.0.1:1/ptu/v1",
        "old": "http://127.0.0.1:1/old",
        "vendor": "http://127.0.0.1:1/vendor/v1",
        "claude": "http://127.0.0.1:1/claude",
        "vllm": "http://127.0.0.1:1/vllm/v1",
        "here": None,
    }
    assert "env:" not in str(pointed)
    assert pointed["claude"]["max_tokens"] == 99


async def test_a_simulated_registry_is_the_real_one_and_needs_no_secrets(monkeypatch) -> None:
    for i in range(1, 5):
        monkeypatch.setenv(f"NOT_SET_{i}", "redis://only-so-that-the-file-is-sound")
    loaded = loads(MIXED_CONFIG)
    for i in range(1, 5):
        monkeypatch.delenv(f"NOT_SET_{i}")
    simulated = prepare_for_simulation(loaded)
    world = World(simulated_deployments(loaded.config), seed=1, clock=lambda: 0.0)
    registry = simulated_registry(simulated, world, SilentLog())
    try:
        assert [len(tier) for tier in registry.routes["a"].tiers] == [1, 1, 1, 1]
        await registry.providers["ptu"].instance.probe()
        assert await registry.providers["claude"].instance.models() == ["claude-x"]
    finally:
        await registry.aclose()


def test_invalid_configuration_is_not_simulated() -> None:
    with pytest.raises(ConfigError, match="provider"):
        prepare_for_simulation(loads("providers: {}\nroutes: {}"))


@pytest.mark.parametrize("count", [1, 3, 9, 27])
def test_the_example_fleet_is_sound(count) -> None:
    loaded = loads(example_fleet(count))
    loaded.source.raise_if_problems()
    specs = simulated_deployments(loaded.config)
    assert Counter(spec.kind for spec in specs) == {"ptu": count, "payg": 3, "vendor": 1}
    if count == 27:
        ptu = [spec for spec in specs if isinstance(spec.capacity, Ptu)]
        assert Counter(spec.zone for spec in ptu) == {"asia": 9, "eu": 9, "us": 9}
        assert set(Counter(spec.region for spec in ptu).values()) == {3}
        assert sum(spec.capacity.ptu for spec in ptu) == 675


def test_two_simulated_deployments_of_one_id_are_refused() -> None:
    with pytest.raises(ValueError, match="d/gpt-4o"):
        World([DEPLOYMENT, DEPLOYMENT], seed=1, clock=lambda: 0.0)
