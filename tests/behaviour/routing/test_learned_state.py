"""What one response teaches about a deployment holds for later calls.

Every fault comes from a real socket; each deployment is a model of one upstream.
"""

from __future__ import annotations

import asyncio
import itertools
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest

from hamlet.gateway import Call, Caller, admission
from hamlet.routing.latency import PeakEwma
from hamlet.testing import Canned, LoopbackUpstream, Received, json_reply, sse_reply
from hamlet.testing.cases import chat_request
from support.fault_harness import (
    GOOD_ANSWER_TEXT,
    PROMPT,
    FaultHarness,
    answer_frames,
    fault_harness,
    provider,
    respond_ok,
)
from support.loopback_vendor import wire_for
from support.server import wait_until

Responder = Callable[[Received], Canned]


def refusal_responder(status: int, body: dict[str, Any] | None = None, **headers: str) -> Responder:
    """A refusal with these headers (underscores for dashes)."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    payload = body or {"error": {"message": "no", "type": "x", "code": None}}
    return lambda request: json_reply(payload, status, named)


@dataclass
class MultiModelVendor:
    """One loopback upstream: how each of its models responds, and when it was called."""

    upstream: LoopbackUpstream
    responders: dict[str, Responder] = field(default_factory=dict)
    requests: list[tuple[float, str]] = field(default_factory=list)

    def respond(self, request: Received) -> Canned:
        model = request.json["model"]
        self.requests.append((time.monotonic(), model))
        return self.responders.get(model, respond_ok)(request)

    def request_counts(self) -> Counter[str]:
        """How often each model was called."""
        return Counter(model for _, model in self.requests)


@asynccontextmanager
async def fleet_harness(
    *tiers: list[Any], policy: dict[str, Any] | None = None, **more: Any
) -> AsyncIterator[tuple[FaultHarness, MultiModelVendor]]:
    """A gateway with one route, `r`, over tiers of models; a model may be a dict of its fields."""
    async with LoopbackUpstream() as upstream:
        vendor = MultiModelVendor(upstream)
        upstream.respond(vendor.respond)
        rows = [
            [{"provider": "p", **(m if isinstance(m, dict) else {"model": m})} for m in tier]
            for tier in tiers
        ]
        config = {
            "providers": {"p": provider("openai_compatible", upstream.url)},
            "routes": {"r": {"tiers": rows, "policy": policy or {}}},
            **more,
        }
        async with fault_harness(config) as stage:
            yield stage, vendor


def reserved_deployment(model: str, **more: Any) -> dict[str, Any]:
    return {"model": model, "ptu": 100, **more}


async def test_retry_after_ms_is_honoured_and_call_fails_over() -> None:
    async with fleet_harness(["a"], ["b"]) as (stage, vendor):
        vendor.responders["a"] = refusal_responder(429, retry_after_ms="600", retry_after="1")
        response = await stage.chat("r")
        assert (response.status, response.text) == (200, GOOD_ANSWER_TEXT)
        refused_at = vendor.requests[0][0]
        vendor.responders["a"] = respond_ok
        while vendor.request_counts()["a"] < 2:
            assert (await stage.chat("r")).status == 200
        assert vendor.requests[-1][0] - refused_at >= 0.6


@pytest.mark.parametrize("waits", [("60", "1"), ("1", "60")])
async def test_longer_of_two_retry_hints_is_used(waits: tuple[str, str]) -> None:
    async with fleet_harness(["a"], ["b"]) as (stage, vendor):
        replies = itertools.cycle(waits)
        gate = asyncio.Event()

        def late(request: Received) -> Canned:
            headers = {"retry-after": next(replies), "content-type": "application/json"}
            return Canned(429, headers, [b"{", b"}"], gate=gate)

        vendor.responders["a"] = late
        calls = [asyncio.create_task(stage.chat("r")) for _ in range(2)]
        await wait_until(lambda: vendor.request_counts()["a"] >= 2)
        gate.set()
        assert [response.status for response in await asyncio.gather(*calls)] == [200, 200]
        load_balancer = stage.running.hamlet.gateway.load_balancer
        left = load_balancer.deployment_states["p/a"].cooldown_until - load_balancer.clock()
        assert 55 < left < 67


@pytest.mark.parametrize(
    "wait", ["", "-1", "nan", "inf", "1e308", "soon", "Wed, 21 Oct 2015 07:28:00 GMT"]
)
async def test_invalid_retry_after_is_ignored(wait: str) -> None:
    async with fleet_harness(["a"], ["b"]) as (stage, vendor):
        vendor.responders["a"] = refusal_responder(429, retry_after=wait, retry_after_ms=wait)
        assert (await stage.chat("r")).status == 200
        load_balancer = stage.running.hamlet.gateway.load_balancer
        assert load_balancer.deployment_states["p/a"].cooldown_until - load_balancer.clock() < 2


async def test_full_reserved_capacity_spills_to_pay_as_you_go() -> None:
    reserved = [reserved_deployment(f"ptu{i}") for i in range(6)]
    async with fleet_harness(reserved[:3], reserved[3:], ["payg"]) as (stage, vendor):
        for row in reserved:
            vendor.responders[row["model"]] = refusal_responder(429, retry_after_ms="30000")
        for _ in range(8):
            response = await stage.chat("r")
            assert (response.status, response.text) == (200, GOOD_ANSWER_TEXT)
        counts = vendor.request_counts()
        assert counts["payg"] == 8
        assert all(counts[row["model"]] <= 1 for row in reserved), (
            "a full deployment is not called again"
        )
        route_state = stage.running.hamlet.gateway.load_balancer._route_states["r", True]
        assert route_state.retry_budget.remaining_ratio == 1.0


async def test_waits_when_capacity_frees_soon() -> None:
    async with fleet_harness([reserved_deployment("a"), reserved_deployment("b")]) as (
        stage,
        vendor,
    ):

        def once(request: Received) -> Canned:
            vendor.responders[request.json["model"]] = respond_ok
            return refusal_responder(429, retry_after_ms="300")(request)

        vendor.responders["a"] = vendor.responders["b"] = once
        assert (await stage.chat("r")).text == GOOD_ANSWER_TEXT
        vendor.responders["a"] = vendor.responders["b"] = refusal_responder(429, retry_after="30")
        response = await stage.chat("r")
        assert response.status == 429
        assert 29 <= int(response.headers["retry-after"]) <= 33
        asked = len(vendor.requests)
        again = await stage.chat("r", stream=False)
        assert again.status == 429
        assert again.headers["x-should-retry"] == "true", "it was shed before any attempt"
        assert len(vendor.requests) == asked


@pytest.mark.parametrize("status", [500, 502, 503, 504, 520, 529, 599])
async def test_failing_deployment_is_ejected(status: int) -> None:
    async with fleet_harness(["a"], ["b"], policy={"retry_budget": 1.0}) as (stage, vendor):
        vendor.responders["a"] = refusal_responder(status)
        for _ in range(8):
            assert (await stage.chat("r")).status == 200
        # One 529 is enough for a cooldown.
        assert vendor.request_counts()["a"] == (1 if status == 529 else 3)


@pytest.mark.parametrize("status", [401, 403, 404])
async def test_configuration_error_opens_breaker_at_once(status: int) -> None:
    named = {"error": {"type": "error", "message": "the model does not exist for this key"}}
    async with fleet_harness(["a"], ["b"]) as (stage, vendor):
        vendor.responders["a"] = refusal_responder(status, named)
        assert [(await stage.chat("r")).status for _ in range(4)] == [200] * 4
        assert vendor.request_counts()["a"] == 1
        assert (
            stage.running.hamlet.gateway.load_balancer.deployment_states["p/a"].breaker.reason
            == "config"
        )
    async with fleet_harness(["a"]) as (stage, vendor):
        vendor.responders["a"] = refusal_responder(status, named)
        response = await stage.chat("r", stream=False)
        assert response.status == 503, "never the caller's 401, nor its 404"


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (404, {"error": {"type": "not_found_error", "message": "File not found: x"}}),
        (403, {"blocked": "by a firewall"}),
    ],
)
async def test_what_one_request_draws_from_every_vendor_shuts_no_route(status, body) -> None:
    async with fleet_harness(["a"], ["b"]) as (stage, vendor):
        vendor.responders["a"] = vendor.responders["b"] = refusal_responder(status, body)
        assert [(await stage.chat("r")).status for _ in range(4)] == [400] * 4
        vendor.responders.clear()
        assert [(await stage.chat("r")).status for _ in range(3)] == [200] * 3


@pytest.mark.parametrize("status", [404, 407, 410, 421, 423, 424, 425])
async def test_a_status_that_is_no_fault_of_the_request_fails_over(status: int) -> None:
    async with fleet_harness(["a"], ["b"]) as (stage, vendor):
        vendor.responders["a"] = refusal_responder(status)
        assert (await stage.chat("r")).status == 200
        assert vendor.request_counts() == {"a": 1, "b": 1}


async def test_exhausted_credit_stops_calls_to_quota_group() -> None:
    spent = {"error": {"code": "insufficient_quota", "type": "insufficient_quota", "message": "x"}}
    rows = [{"model": m, "quota_group": "ours"} for m in ("a", "b")]
    async with fleet_harness(rows, [{"model": "c", "quota_group": "theirs"}]) as (stage, vendor):
        vendor.responders["a"] = vendor.responders["b"] = refusal_responder(429, spent)
        assert [(await stage.chat("r")).status for _ in range(5)] == [200] * 5
        counts = vendor.request_counts()
        assert (counts["a"] + counts["b"], counts["c"]) == (1, 5)


async def test_invalid_request_is_sent_once() -> None:
    async with fleet_harness(["a"], ["b"]) as (stage, vendor):
        vendor.responders["a"] = refusal_responder(
            400, {"error": {"message": "bad temperature", "code": "x"}}
        )
        response = await stage.chat("r", stream=False)
        assert response.status == 400
        assert vendor.request_counts() == {"a": 1}
        assert "bad temperature" in response.body.decode()


async def test_slow_deployment_is_ejected_as_outlier() -> None:
    async with fleet_harness(["slow", "b", "c"]) as (stage, vendor):
        for _ in range(40):
            await stage.chat("r")
        load_balancer = stage.running.hamlet.gateway.load_balancer
        for state in load_balancer.deployment_states.values():
            # A busy machine may have made any of them seem slow.
            state.slowness = PeakEwma(load_balancer.clock())
        vendor.responders["slow"] = lambda request: sse_reply(
            answer_frames(wire_for(request)), pause_s=0.3
        )
        while vendor.request_counts()["slow"] < 1 or vendor.requests[-1][1] != "slow":
            await stage.chat("r")
        found_out = vendor.request_counts()["slow"]
        for _ in range(24):
            await stage.chat("r")
        assert vendor.request_counts()["slow"] - found_out <= 2


async def test_flapping_deployment_is_probed_one_call_at_a_time() -> None:
    async with fleet_harness(["flapping"], ["b"]) as (stage, vendor):
        vendor.responders["flapping"] = refusal_responder(500)
        for _ in range(4):
            await stage.chat("r")
        load_balancer = stage.running.hamlet.gateway.load_balancer
        breaker = load_balancer.deployment_states["p/flapping"].breaker
        spans = [breaker.open_until - load_balancer.clock()]
        for _ in range(2):
            breaker.open_until = load_balancer.clock()
            before = vendor.request_counts()["flapping"]
            responses = await asyncio.gather(*(stage.chat("r") for _ in range(10)))
            assert [each.status for each in responses] == [200] * 10
            assert vendor.request_counts()["flapping"] == before + 1
            spans.append(breaker.open_until - load_balancer.clock())
        assert spans[2] > 1.5 * spans[1] > 2 * spans[0] * 0.9
        vendor.responders["flapping"] = respond_ok
        breaker.open_until = load_balancer.clock()
        for _ in range(4):
            assert (await stage.chat("r")).status == 200
        assert not breaker.is_tripped


async def test_region_outage_fails_no_call() -> None:
    rows = [
        reserved_deployment(f"{region}{i}", region=region)
        for region in ("kr", "jp", "us")
        for i in range(3)
    ]
    async with fleet_harness(rows) as (stage, vendor):
        for i in range(3):
            vendor.responders[f"kr{i}"] = lambda request: Canned(before="reset")
        for _ in range(20):
            responses = await asyncio.gather(*(stage.chat("r") for _ in range(3)))
            assert {each.status for each in responses} == {200}
        later = len(vendor.requests)
        for _ in range(30):
            assert (await stage.chat("r")).text == GOOD_ANSWER_TEXT
        wasted = sum(model.startswith("kr") for _, model in vendor.requests[later:])
        assert wasted <= 9


async def test_admission_is_fair_between_keys(monkeypatch) -> None:
    # On a slow machine a slot may take longer than the half second that calls wait for it.
    monkeypatch.setattr(admission, "_MAX_QUEUE_WAIT_S", 30.0)
    async with fleet_harness(["a"], server={"max_in_flight": 8}) as (stage, vendor):

        def slowly(request: Received) -> Canned:
            return sse_reply(answer_frames(wire_for(request)), pause_s=0.05)

        vendor.responders["a"] = slowly
        gateway = stage.running.hamlet.gateway
        flood = [asyncio.create_task(stage.chat("r")) for _ in range(60)]
        await wait_until(
            lambda: gateway.admission.in_flight == 8 and gateway.admission.queue_depth > 8
        )
        call, caller = Call.from_request(chat_request(PROMPT, "r", stream=True)), Caller("modest")
        modest = asyncio.create_task(gateway.chat(call, caller))
        await wait_until(lambda: gateway.admission._in_flight_by_caller.get("modest"))
        served = sum(task.done() for task in flood)
        assert served <= 8, "it queued behind the flood"
        await (await modest).aclose()
        statuses = Counter(response.status for response in await asyncio.gather(*flood))
        assert statuses == {200: 60}


async def test_late_response_is_hedged() -> None:
    async with fleet_harness(["a"], ["b"], policy={"hedge": True}) as (stage, vendor):
        for _ in range(40):
            await stage.chat("r")
        vendor.responders["a"] = lambda request: Canned(before="hang")
        response = await stage.chat("r")
        assert response.text == GOOD_ANSWER_TEXT
        await vendor.upstream.hung_up()
        assert vendor.request_counts()["b"] == 1
        gateway = stage.running.hamlet.gateway
        assert all(c.in_flight == 0 for c in gateway.load_balancer.deployment_states.values())


async def test_vendor_spillover_marks_deployment_full() -> None:
    async with fleet_harness([reserved_deployment("a", ptu=1)], ["b"]) as (stage, vendor):

        def spilled(request: Received) -> Canned:
            headers = {"x-ms-spillover-from-deployment": "a", "x-ms-deployment-name": "std"}
            return sse_reply(answer_frames(wire_for(request)), headers=headers)

        vendor.responders["a"] = spilled
        response = await stage.chat("r")
        assert response.text == GOOD_ANSWER_TEXT
        assert "x-ms-spillover-from-deployment" not in response.headers
        assert (await stage.chat("r")).status == 200
        assert vendor.request_counts() == {"a": 1, "b": 1}


async def test_callers_budget_only_shortens_the_call() -> None:
    async with fleet_harness(["a"], policy={"total_s": 0.4}) as (stage, vendor):
        vendor.responders["a"] = lambda request: Canned(before="hang")
        for budget_ms in ("120", "60000"):
            stage.http.headers["x-request-budget-ms"] = budget_ms
            begun = time.monotonic()
            response = await stage.chat("r", stream=False)
            assert response.status == 504
            assert time.monotonic() - begun >= min(int(budget_ms) / 1000, 0.4) - 0.01
            vendor_fleet = stage.running.hamlet.gateway.load_balancer
            vendor_fleet.deployment_states["p/a"].breaker.close(vendor_fleet.clock())
