"""What one answer teaches about a deployment holds for the calls after it.

Rows of the fault matrix: 20, 21, 22 (as a wait), 23, 24, 26 (one at a time), 28, 29, 30, 35, 36, 37,
63, 64, 67. Every fault comes from a real socket; each deployment is a model of one upstream.
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
from hamlet.routing.latency import Slowness
from hamlet.testing import Canned, LoopbackUpstream, Received, json_reply, sse_reply
from hamlet.testing.cases import ask
from support.server import until
from support.stage import PROMPT, SAID, Stage, provider, said, staging, well
from support.vendor import wire_of

Play = Callable[[Received], Canned]


def refuse(status: int, body: dict[str, Any] | None = None, **headers: str) -> Play:
    """A refusal with these headers (underscores for dashes)."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    told = body or {"error": {"message": "no", "type": "x", "code": None}}
    return lambda request: json_reply(told, status, named)


@dataclass
class Vendor:
    """One loopback upstream; what each of its models plays, and when it was asked."""

    upstream: LoopbackUpstream
    plays: dict[str, Play] = field(default_factory=dict)
    asked: list[tuple[float, str]] = field(default_factory=list)

    def play(self, request: Received) -> Canned:
        model = request.json["model"]
        self.asked.append((time.monotonic(), model))
        return self.plays.get(model, well)(request)

    def counts(self) -> Counter[str]:
        """How often each model was asked."""
        return Counter(model for _, model in self.asked)


@asynccontextmanager
async def fleet(
    *tiers: list[Any], policy: dict[str, Any] | None = None, **more: Any
) -> AsyncIterator[tuple[Stage, Vendor]]:
    """A stage with one route, `r`, over tiers of models; a model may be a dict with its fields."""
    async with LoopbackUpstream() as upstream:
        vendor = Vendor(upstream)
        upstream.respond(vendor.play)
        rows = [
            [{"provider": "p", **(m if isinstance(m, dict) else {"model": m})} for m in tier]
            for tier in tiers
        ]
        config = {
            "providers": {"p": provider("openai_compatible", upstream.url)},
            "routes": {"r": {"tiers": rows, "policy": policy or {}}},
            **more,
        }
        async with staging(config) as stage:
            yield stage, vendor


def ptu(model: str, **more: Any) -> dict[str, Any]:
    return {"model": model, "ptu": 100, **more}


async def test_a_wait_in_milliseconds_is_kept_to_and_another_answers() -> None:
    async with fleet(["a"], ["b"]) as (stage, vendor):
        vendor.plays["a"] = refuse(429, retry_after_ms="600", retry_after="1")
        told = await stage.ask("r")
        assert (told.status, told.text) == (200, SAID)
        refused_at = vendor.asked[0][0]
        vendor.plays["a"] = well
        while vendor.counts()["a"] < 2:
            assert (await stage.ask("r")).status == 200
        assert vendor.asked[-1][0] - refused_at >= 0.6


@pytest.mark.parametrize("waits", [("60", "1"), ("1", "60")])
async def test_of_two_waits_the_longer_counts(waits: tuple[str, str]) -> None:
    async with fleet(["a"], ["b"]) as (stage, vendor):
        replies = itertools.cycle(waits)
        gate = asyncio.Event()

        def late(request: Received) -> Canned:
            headers = {"retry-after": next(replies), "content-type": "application/json"}
            return Canned(429, headers, [b"{", b"}"], gate=gate)

        vendor.plays["a"] = late
        calls = [asyncio.create_task(stage.ask("r")) for _ in range(2)]
        while vendor.counts()["a"] < 2:
            await asyncio.sleep(0.005)
        gate.set()
        assert [told.status for told in await asyncio.gather(*calls)] == [200, 200]
        fleet_ = stage.running.hamlet.gateway.fleet
        left = fleet_.conditions["p/a"].cooldown_until - fleet_.clock()
        assert 55 < left < 67


@pytest.mark.parametrize(
    "wait", ["", "-1", "nan", "inf", "1e308", "soon", "Wed, 21 Oct 2015 07:28:00 GMT"]
)
async def test_an_odd_wait_is_none_and_nobody_sleeps_on_it(wait: str) -> None:
    async with fleet(["a"], ["b"]) as (stage, vendor):
        vendor.plays["a"] = refuse(429, retry_after=wait, retry_after_ms=wait)
        assert (await stage.ask("r")).status == 200
        fleet_ = stage.running.hamlet.gateway.fleet
        assert fleet_.conditions["p/a"].cooldown_until - fleet_.clock() < 2


async def test_every_reserved_deployment_full_spills_to_what_is_paid_per_use() -> None:
    reserved = [ptu(f"ptu{i}") for i in range(6)]
    async with fleet(reserved[:3], reserved[3:], ["payg"]) as (stage, vendor):
        for row in reserved:
            vendor.plays[row["model"]] = refuse(429, retry_after_ms="30000")
        for _ in range(8):
            told = await stage.ask("r")
            assert (told.status, told.text) == (200, SAID)
        counts = vendor.counts()
        assert counts["payg"] == 8
        assert all(counts[row["model"]] <= 1 for row in reserved), "who is full is not asked again"
        traffic = stage.running.hamlet.gateway.fleet._traffic["r", True]
        assert traffic.budget.share_left == 1.0


async def test_a_full_fleet_is_waited_for_if_that_is_soon() -> None:
    async with fleet([ptu("a"), ptu("b")]) as (stage, vendor):

        def once(request: Received) -> Canned:
            vendor.plays[request.json["model"]] = well
            return refuse(429, retry_after_ms="300")(request)

        vendor.plays["a"] = vendor.plays["b"] = once
        assert (await stage.ask("r")).text == SAID
        vendor.plays["a"] = vendor.plays["b"] = refuse(429, retry_after="30")
        told = await stage.ask("r")
        assert told.status == 429
        assert 29 <= int(told.headers["retry-after"]) <= 33
        asked = len(vendor.asked)
        again = await stage.ask("r", stream=False)
        assert again.status == 429
        assert again.headers["x-should-retry"] == "true", "nobody was asked: shed before trying"
        assert len(vendor.asked) == asked


@pytest.mark.parametrize("status", [500, 502, 503, 504, 520, 529, 599])
async def test_a_failing_deployment_is_asked_three_times_and_then_left_alone(status: int) -> None:
    async with fleet(["a"], ["b"], policy={"retry_budget": 1.0}) as (stage, vendor):
        vendor.plays["a"] = refuse(status)
        for _ in range(8):
            assert (await stage.ask("r")).status == 200
        # 529 asks us to stay away, which one such answer is enough for.
        assert vendor.counts()["a"] == (1 if status == 529 else 3)


@pytest.mark.parametrize("status", [401, 403, 404])
async def test_a_fault_of_configuration_takes_a_deployment_out_at_once(status: int) -> None:
    async with fleet(["a"], ["b"]) as (stage, vendor):
        vendor.plays["a"] = refuse(status)
        assert [(await stage.ask("r")).status for _ in range(4)] == [200] * 4
        assert vendor.counts()["a"] == 1
        assert stage.running.hamlet.gateway.fleet.conditions["p/a"].breaker.reason == "config"
    async with fleet(["a"]) as (stage, vendor):
        vendor.plays["a"] = refuse(status)
        told = await stage.ask("r", stream=False)
        assert told.status == 503, "never the caller's 401, nor its 404"


async def test_spent_money_ends_all_calls_to_that_purse() -> None:
    spent = {"error": {"code": "insufficient_quota", "type": "insufficient_quota", "message": "x"}}
    rows = [{"model": m, "quota_group": "ours"} for m in ("a", "b")]
    async with fleet(rows, [{"model": "c", "quota_group": "theirs"}]) as (stage, vendor):
        vendor.plays["a"] = vendor.plays["b"] = refuse(429, spent)
        assert [(await stage.ask("r")).status for _ in range(5)] == [200] * 5
        counts = vendor.counts()
        assert (counts["a"] + counts["b"], counts["c"]) == (1, 5)


async def test_a_wrong_request_is_sent_once() -> None:
    async with fleet(["a"], ["b"]) as (stage, vendor):
        vendor.plays["a"] = refuse(400, {"error": {"message": "bad temperature", "code": "x"}})
        told = await stage.ask("r", stream=False)
        assert told.status == 400
        assert vendor.counts() == {"a": 1}
        assert "bad temperature" in told.body.decode()


async def test_a_slow_deployment_loses_its_traffic() -> None:
    async with fleet(["slow", "b", "c"]) as (stage, vendor):
        for _ in range(40):
            await stage.ask("r")
        fleet_ = stage.running.hamlet.gateway.fleet
        for condition in fleet_.conditions.values():
            # A busy machine may have made any of them look slow.
            condition.slowness = Slowness(fleet_.clock())
        vendor.plays["slow"] = lambda request: sse_reply(said(wire_of(request)), pause_s=0.3)
        while vendor.counts()["slow"] < 1 or vendor.asked[-1][1] != "slow":
            await stage.ask("r")
        found_out = vendor.counts()["slow"]
        for _ in range(24):
            await stage.ask("r")
        assert vendor.counts()["slow"] - found_out <= 2


async def test_a_flapping_deployment_is_probed_one_call_at_a_time() -> None:
    async with fleet(["flapping"], ["b"]) as (stage, vendor):
        vendor.plays["flapping"] = refuse(500)
        for _ in range(4):
            await stage.ask("r")
        fleet_ = stage.running.hamlet.gateway.fleet
        breaker = fleet_.conditions["p/flapping"].breaker
        spans = [breaker.until - fleet_.clock()]
        for _ in range(2):
            breaker.until = fleet_.clock()
            before = vendor.counts()["flapping"]
            told = await asyncio.gather(*(stage.ask("r") for _ in range(10)))
            assert [t.status for t in told] == [200] * 10
            assert vendor.counts()["flapping"] == before + 1
            spans.append(breaker.until - fleet_.clock())
        assert spans[2] > 1.5 * spans[1] > 2 * spans[0] * 0.9
        vendor.plays["flapping"] = well
        breaker.until = fleet_.clock()
        for _ in range(4):
            assert (await stage.ask("r")).status == 200
        assert not breaker.opened


async def test_a_dead_region_costs_nobody_an_answer() -> None:
    rows = [ptu(f"{region}{i}", region=region) for region in ("kr", "jp", "us") for i in range(3)]
    async with fleet(rows) as (stage, vendor):
        for i in range(3):
            vendor.plays[f"kr{i}"] = lambda request: Canned(before="reset")
        for _ in range(20):
            told = await asyncio.gather(*(stage.ask("r") for _ in range(3)))
            assert {t.status for t in told} == {200}
        later = len(vendor.asked)
        for _ in range(30):
            assert (await stage.ask("r")).text == SAID
        wasted = sum(model.startswith("kr") for _, model in vendor.asked[later:])
        assert wasted <= 9


async def test_a_flood_under_one_key_leaves_places_for_the_others(monkeypatch) -> None:
    # On a slow machine a place may take longer than the half second that calls have for it.
    monkeypatch.setattr(admission, "_PATIENCE_S", 30.0)
    async with fleet(["a"], server={"max_in_flight": 8}) as (stage, vendor):

        def slowly(request: Received) -> Canned:
            return sse_reply(said(wire_of(request)), pause_s=0.05)

        vendor.plays["a"] = slowly
        gateway = stage.running.hamlet.gateway
        flood = [asyncio.create_task(stage.ask("r")) for _ in range(60)]
        await until(lambda: gateway.admission.in_flight == 8 and gateway.admission.waiting > 8)
        call, caller = Call.of(ask(PROMPT, "r", stream=True)), Caller("modest")
        modest = asyncio.create_task(gateway.chat(call, caller))
        await until(lambda: gateway.admission._held.get("modest"))
        served = sum(task.done() for task in flood)
        assert served <= 8, "it queued behind the flood"
        await (await modest).aclose()
        statuses = Counter(told.status for told in await asyncio.gather(*flood))
        assert statuses == {200: 60}


async def test_a_late_answer_is_hedged_over_real_connections_too() -> None:
    async with fleet(["a"], ["b"], policy={"hedge": True}) as (stage, vendor):
        for _ in range(40):
            await stage.ask("r")
        vendor.plays["a"] = lambda request: Canned(before="hang")
        told = await stage.ask("r")
        assert told.text == SAID
        await vendor.upstream.hung_up()
        assert vendor.counts()["b"] == 1
        gateway = stage.running.hamlet.gateway
        assert all(c.in_flight == 0 for c in gateway.fleet.conditions.values())


async def test_an_answer_from_elsewhere_says_that_the_asked_one_is_full() -> None:
    async with fleet([ptu("a", ptu=1)], ["b"]) as (stage, vendor):

        def spilled(request: Received) -> Canned:
            headers = {"x-ms-spillover-from-deployment": "a", "x-ms-deployment-name": "std"}
            return sse_reply(said(wire_of(request)), headers=headers)

        vendor.plays["a"] = spilled
        told = await stage.ask("r")
        assert told.text == SAID
        assert "x-ms-spillover-from-deployment" not in told.headers
        assert (await stage.ask("r")).status == 200
        assert vendor.counts() == {"a": 1, "b": 1}


async def test_a_callers_budget_can_only_shorten_the_call() -> None:
    async with fleet(["a"], policy={"total_s": 0.4}) as (stage, vendor):
        vendor.plays["a"] = lambda request: Canned(before="hang")
        for budget_ms in ("120", "60000"):
            stage.http.headers["x-request-budget-ms"] = budget_ms
            begun = time.monotonic()
            told = await stage.ask("r", stream=False)
            assert told.status == 504
            assert time.monotonic() - begun >= min(int(budget_ms) / 1000, 0.4) - 0.01
            vendor_fleet = stage.running.hamlet.gateway.fleet
            vendor_fleet.conditions["p/a"].breaker.close(vendor_fleet.clock())
