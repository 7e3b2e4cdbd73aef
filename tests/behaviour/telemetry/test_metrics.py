"""What is counted: that it adds up, stays bounded, and is what the reference says."""

import asyncio
import json
import random
import re
import subprocess

import httpx2
import pytest
from prometheus_client.parser import text_string_to_metric_families

from hamlet.core import errors
from hamlet.core.errors import HamletError
from hamlet.gateway import Attempt, CallRecord
from hamlet.telemetry import labels as L
from hamlet.telemetry.catalogue import CATALOGUE
from hamlet.telemetry.metrics import Metrics
from hamlet.telemetry.reference import LIBRARY_SERIES, max_total_series, render_reference
from hamlet.testing import Canned, LoopbackUpstream, Received, json_reply, sse_reply
from loadtest.engine.processes import free_port
from support.fault_harness import (
    CLIENT_KEY,
    GOOD_ANSWER_TEXT,
    PROMPT,
    RETRY_POLICY,
    answer_frames,
    fault_harness,
    provider,
    respond_ok,
)
from support.loopback_vendor import wire_for
from support.paths import ROOT
from support.routing import stub_deployment
from support.server import EMBEDDED_PROVIDER, EMBEDDED_ROUTES, RunningServer, run_server, wait_until


async def scrape(url: str, accept: str = "") -> str:
    async with httpx2.AsyncClient() as http:
        return (await http.get(f"{url}/metrics", headers={"accept": accept})).text


def parse_samples(text: str) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
    """Every sample by its name and labels."""
    return {
        (s.name, frozenset(s.labels.items())): s.value
        for family in text_string_to_metric_families(text)
        for s in family.samples
    }


def sum_samples(text: str, name: str, **labels: str) -> float:
    """The sum over all series of a name that have these labels."""
    wanted = set(labels.items())
    return sum(v for (n, of), v in parse_samples(text).items() if n == name and wanted <= of)


def error_codes(parent: type[HamletError]) -> set[str]:
    found = {parent.code}
    for child in parent.__subclasses__():
        if child.__module__ == errors.__name__:
            found |= error_codes(child)
    return found


def test_the_closed_sets_are_those_of_the_error_family() -> None:
    assert set(L.FAILURE_CODES) == error_codes(errors.ProviderError)
    assert set(L.REJECTION_CODES) == error_codes(errors.RequestError)


def test_the_reference_is_the_catalogue() -> None:
    assert (ROOT / "docs/metrics.md").read_text() == render_reference(), (
        "python -m hamlet.dashboards.build"
    )
    assert max_total_series() <= 10_000


@pytest.fixture
async def running():
    async with run_server(EMBEDDED_PROVIDER + EMBEDDED_ROUTES) as running:
        yield running


async def test_everything_exposed_is_in_the_catalogue_with_its_labels(
    running: RunningServer,
) -> None:
    await scrape(running.url)
    for found in text_string_to_metric_families(await scrape(running.url)):
        if found.name.startswith(("process_", "python_")):
            continue
        name = found.name + ("_total" if found.type == "counter" else "")
        known = CATALOGUE[name]
        assert known.type == found.type, name
        for sample in found.samples:
            assert set(sample.labels) - {"le"} == set(known.labels), name
            for label, value in sample.labels.items():
                closed = known.closed_values(label)
                assert closed is None or value in closed, (name, label, value)


async def test_outcomes_are_there_before_anything_happens(running: RunningServer) -> None:
    found = parse_samples(await scrape(running.url))
    for route in ("hamlet", "hamlet-embed", "unknown"):
        for outcome in L.OUTCOMES:
            key = frozenset({("route", route), ("outcome", outcome)})
            assert found["hamlet_requests_total", key] == 0
    of = ("deployment", "embedded/embedded-chat")
    for result in L.RESULTS:
        assert found["hamlet_attempts_total", frozenset({of, ("result", result)})] == 0
    for cause in L.CONNECT_CAUSES:
        assert found["hamlet_connect_failures_total", frozenset({of, ("cause", cause)})] == 0
    assert ("hamlet_event_loop_lag_seconds_count", frozenset()) in found


@pytest.mark.slow
async def test_random_models_paths_and_keys_leave_the_series_bounded(
    running: RunningServer,
) -> None:
    rng = random.Random(3)
    body = {"messages": [{"role": "user", "content": "hi"}], "max_tokens": 1}

    async with httpx2.AsyncClient(base_url=running.url, timeout=60) as http:

        async def one(i: int) -> None:
            kind = i % 4
            model = "hamlet" if kind == 0 else f"m-{rng.random()}"
            path = f"/v1/p{rng.random()}" if kind == 1 else "/v1/chat/completions"
            headers = {"authorization": f"Bearer k-{rng.random()}", "x-request-id": f"id{i}"}
            await http.post(path, json={**body, "model": model}, headers=headers)

        await asyncio.gather(*map(one, range(200)))
        before = len(parse_samples(await scrape(running.url)))
        for start in range(200, 5000, 400):
            await asyncio.gather(*map(one, range(start, start + 400)))
    text = await scrape(running.url)
    assert len(parse_samples(text)) - before < 30
    assert len(parse_samples(text)) <= max_total_series()
    assert not re.search(r"m-0\.|k-0\.|/v1/p0", text)
    assert (
        sum(n.startswith(("process_", "python_")) for n, _ in parse_samples(text)) <= LIBRARY_SERIES
    )


@pytest.mark.external("promtool")
async def test_metrics_pass_promtool_lint(running: RunningServer) -> None:
    text = await scrape(running.url)
    found = await asyncio.to_thread(
        subprocess.run, ["promtool", "check", "metrics"], input=text.encode(), capture_output=True
    )
    assert found.returncode == 0, found.stderr.decode() + found.stdout.decode()


async def test_exemplars_and_log_lines_carry_the_callers_trace(running: RunningServer) -> None:
    trace = "4bf92f3577b34da6a3ce929d0e0e4736"
    body = {"model": "hamlet", "messages": [{"role": "user", "content": "hi"}], "stream": True}
    async with httpx2.AsyncClient(base_url=running.url) as http:
        for header in (
            f"00-{trace}-00f067aa0ba902b7-01",
            "00-zz-1",
            f"00-{'0' * 32}-{'1' * 16}-00",
        ):
            answer = await http.post(
                "/v1/chat/completions", json=body, headers={"traceparent": header}
            )
            assert answer.status_code == 200
    lines = [json.loads(line) for line in running.log.getvalue().splitlines()]
    ids = [line["trace_id"] for line in lines if line["event"] == "call"]
    assert ids[0] == trace
    assert len(set(ids)) == 3
    assert all(re.fullmatch(r"[0-9a-f]{32}", id_) for id_ in ids)
    text = await scrape(running.url, "application/openmetrics-text; version=1.0.0")
    assert text.endswith("# EOF\n")
    assert f'# {{trace_id="{ids[-1]}"}}' in text
    assert "trace_id" not in await scrape(running.url)


def endless_stream(request):
    """Never ends some answers."""
    if request.json["model"] == "endless":
        return sse_reply(answer_frames(wire_for(request))[:3], end="hang")
    return respond_ok(request)


def faulty_vendor(request):
    """Fails a third of the calls, in three ways."""
    number = request.json["max_tokens"] % 9
    wire = wire_for(request)
    if number == 0:
        return json_reply(wire.error(429), 429, {"retry-after": "0"})
    if number == 3:
        return json_reply(wire.error(500), 500)
    if number == 6:
        return json_reply(wire.error(400), 400)
    return respond_ok(request)


async def test_a_billing_record_that_cannot_be_written_is_counted_and_fails_no_call(
    tmp_path,
) -> None:
    async with LoopbackUpstream() as good:
        good.respond(respond_ok)
        config = {
            "telemetry": {"usage_file": str(tmp_path / "nowhere" / "usage.jsonl")},
            "providers": {"good": provider("openai", good.url)},
            "routes": {"r": {"deployments": [{"provider": "good", "model": "m"}]}},
        }
        async with fault_harness(config) as stage:
            assert (await stage.chat("r")).text == GOOD_ANSWER_TEXT

            async def has_dropped() -> bool:
                return sum_samples(await stage.metrics(), "hamlet_usage_dropped_total") > 0

            await wait_until(has_dropped)


async def test_vendor_headroom_and_pool_metrics() -> None:
    async with LoopbackUpstream() as good:
        quota_headers = {
            "x-ratelimit-remaining-tokens": "25000",
            "x-ratelimit-remaining-requests": "900",
        }

        def answer(request: Received) -> Canned:
            canned = respond_ok(request)
            # In two pieces with a pause between them, so that the calls overlap.
            body = b"".join(canned.pieces)
            headers = {**canned.headers, **quota_headers}
            return Canned(canned.status, headers, [body[:9], body[9:]], pause_s=0.1)

        good.respond(answer)
        config = {
            "providers": {"good": {**provider("openai", good.url), "max_connections": 1}},
            "routes": {
                "r": {
                    "deployments": [{"provider": "good", "model": "m", "tpm": 100_000, "rpm": 1000}]
                }
            },
        }
        async with fault_harness(config) as stage:
            await asyncio.gather(*(stage.chat("r") for _ in range(3)))
            text = await stage.metrics()
    left = "hamlet_rate_limit_remaining_ratio"
    assert sum_samples(text, left, deployment="good/m", kind="tokens") == 0.25
    assert sum_samples(text, left, deployment="good/m", kind="requests") == 0.9
    pool = "hamlet_http_pool_"
    assert sum_samples(text, f"{pool}connections", provider="good") == 1
    assert sum_samples(text, f"{pool}waits_total", provider="good") >= 1
    assert sum_samples(text, f"{pool}wait_seconds_total", provider="good") > 0
    assert sum_samples(text, f"{pool}waiting", provider="good") == 0


async def test_an_attempt_without_a_connection_counts_once_under_its_cause() -> None:
    name = "hamlet_connect_failures_total"
    async with LoopbackUpstream() as good:
        good.respond(lambda request: json_reply(wire_for(request).error(500), 500))
        closed = provider("openai", f"http://127.0.0.1:{free_port()}")
        config = {
            "providers": {"closed": closed, "good": provider("openai", good.url)},
            "routes": {
                "r": {
                    "tiers": [
                        [{"provider": "closed", "model": "m"}],
                        [{"provider": "good", "model": "m"}],
                    ],
                    "policy": {**RETRY_POLICY, "attempts": 2},
                }
            },
        }
        async with fault_harness(config) as stage:
            before = await stage.metrics()
            await stage.chat("r")
            after = await stage.metrics()
    assert sum_samples(before, name) == 0
    assert sum_samples(after, name, deployment="closed/m", cause="refused") == 1
    assert sum_samples(after, name) == 1, "the other's 500 came over a connection"


@pytest.mark.parametrize("cause", [*L.CONNECT_CAUSES, "of_a_plugin"])
def test_causes_of_plugins_add_no_series(cause) -> None:
    metrics = Metrics()
    deployment = stub_deployment("a")
    error = errors.UpstreamUnavailable("none", phase="connect", cause=cause)
    record = CallRecord("chat", "r", "", "id", False, 0.0)
    metrics.on_attempt(record, Attempt(deployment, 0.0, error=error))
    counted = cause if cause in L.CONNECT_CAUSES else "unreachable"
    labels = {"deployment": deployment.id, "cause": counted}
    assert metrics.registry.get_sample_value("hamlet_connect_failures_total", labels) == 1


async def test_what_is_counted_adds_up_under_faults_and_leaving_clients(tmp_path) -> None:
    usage_file = tmp_path / "usage.jsonl"
    async with LoopbackUpstream() as bad, LoopbackUpstream() as good:
        bad.respond(faulty_vendor)
        good.respond(endless_stream)
        config = {
            "telemetry": {"usage_file": str(usage_file)},
            "providers": {"bad": provider("openai", bad.url), "good": provider("openai", good.url)},
            "routes": {
                "r": {
                    "tiers": [
                        [{"provider": "bad", "model": "m"}],
                        [{"provider": "good", "model": "m"}],
                    ],
                    "policy": RETRY_POLICY,
                },
                "slow": {"deployments": [{"provider": "good", "model": "endless"}]},
            },
        }
        async with fault_harness(config) as stage:
            for i in range(40):
                await stage.chat("r", stream=i % 2 == 0, max_tokens=i + 1)
            await stage.chat("nobody")
            await open_and_abandon_stream(stage)
            text = await stage.metrics()
            calls = [line for line in stage.log if line["event"] == "call"]
    used = [json.loads(line) for line in usage_file.read_text().splitlines()]
    assert PROMPT not in usage_file.read_text()
    assert sum_samples(text, "hamlet_requests_total") == len(calls) == 42
    assert sum_samples(text, "hamlet_requests_total", outcome="cancelled") == 1
    assert sum_samples(text, "hamlet_requests_total", route="unknown", outcome="client_error") == 1
    assert sum_samples(text, "hamlet_rejected_total") == 1
    # Every attempt is a call's first, or counted with how the call came to it.
    attempts, again = (
        sum_samples(text, "hamlet_attempts_total"),
        sum_samples(text, "hamlet_reattempts_total"),
    )
    assert attempts == sum(line["attempts"] for line in calls)
    assert attempts - again == sum(line["attempts"] > 0 for line in calls)
    assert again > 0
    answered = sum_samples(text, "hamlet_requests_total", outcome="ok")
    assert sum_samples(text, "hamlet_answers_total") == answered
    assert attempts >= answered
    assert sum_samples(text, "hamlet_http_responses_total", path="/v1/chat/completions") >= 41
    for kind in ("input", "output"):
        assert sum_samples(text, "hamlet_tokens_total", token_type=kind) == sum(
            line[kind] or 0 for line in used
        )
    assert sum_samples(text, "hamlet_telemetry_errors_total") == 0
    assert sum_samples(text, "hamlet_deployment_in_flight") == 0


async def open_and_abandon_stream(stage) -> None:
    """Begin a stream, and leave before its end."""
    turns = [{"role": "user", "content": PROMPT}]
    body = {"model": "slow", "stream": True, "messages": turns, "max_tokens": 9}
    request = stage.http.stream(
        "POST", "/v1/chat/completions", json=body, headers={"authorization": f"Bearer {CLIENT_KEY}"}
    )
    before = len([line for line in stage.log if line["event"] == "call"])
    async with request as response:
        async for _ in response.aiter_raw():
            break
    await wait_until(lambda: len([x for x in stage.log if x["event"] == "call"]) == before + 1)
    assert stage.running.hamlet.gateway.admission.in_flight == 0


async def test_an_observer_that_raises_is_counted(running: RunningServer) -> None:
    class Broken:
        def on_start(self, record):
            raise RuntimeError

        def on_attempt(self, record, attempt):
            raise RuntimeError

        def on_end(self, record):
            raise RuntimeError

    running.hamlet.observers.add(Broken())
    body = {"model": "hamlet", "messages": [{"role": "user", "content": "hi"}]}
    async with httpx2.AsyncClient(base_url=running.url) as http:
        assert (await http.post("/v1/chat/completions", json=body)).status_code == 200
    assert sum_samples(await scrape(running.url), "hamlet_telemetry_errors_total") == 3
