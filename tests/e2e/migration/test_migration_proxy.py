"""The migration proxy: transparent forwarding, cohorts, fallback, shadow calls, guardrails."""

import asyncio
import json
import time

import httpx2
import pytest

from hamlet.testing import Canned, json_reply
from support.hamlet1 import needs_node
from support.loopback_vendor import respond
from support.migration import CHAT_BODY, migration_harness
from support.server import wait_until

pytestmark = needs_node
NEW = {"x-hamlet-tester": "tester", "x-hamlet-arm": "new"}


@pytest.fixture
async def migration(tmp_path, monkeypatch):
    monkeypatch.setenv("TEST_TESTER_KEY", "tester")
    async with migration_harness(tmp_path) as harness:
        yield harness


def comparable_headers(response: httpx2.Response) -> list[tuple[bytes, bytes]]:
    """The headers without the date and those of the connection."""
    ignored = (b"date", b"server", b"connection", b"keep-alive", b"transfer-encoding")
    return sorted((k.lower(), v) for k, v in response.headers.raw if k.lower() not in ignored)


async def test_proxied_response_is_byte_identical(migration) -> None:
    async with httpx2.AsyncClient(base_url=migration.legacy.url) as direct:
        calls = [
            ("GET", "/api/profile?a=%2F&b=%ED%95%9C&b=2", {}),
            ("GET", "/assets/app.js", {}),
            ("HEAD", "/assets/app.js", {}),
            ("POST", "/api/upload", {"content": b"\0\xff" * 200_000}),
            ("PUT", "/api/upload", {"content": b"", "headers": {"content-type": "x/y; z=1"}}),
        ]
        for method, path, more in calls:
            responses = []
            for http in (direct, migration.http):
                async with http.stream(method, path, **more) as response:
                    raw = b"".join([part async for part in response.aiter_raw()])
                    responses.append((response.status_code, comparable_headers(response), raw))
            assert responses[0] == responses[1], path
    assert migration.feature("rest").counters.legacy["ok"] >= 4

    async def pieces():
        for _ in range(5):
            yield b"x" * 30_000

    chunked = await migration.http.post("/api/upload", content=pieces())
    assert chunked.json()["bytes"] == 150_000


async def test_proxied_stream_is_unbuffered_and_cancelled_on_disconnect(migration) -> None:
    gate = asyncio.Event()
    frames = [b'data: {"choices":[{"delta":{"content":"one"}}]}\n\n', b"data: [DONE]\n\n"]
    migration.vendor.reply(Canned(200, {"content-type": "text/event-stream"}, frames, gate=gate))
    async with migration.http.stream(
        "POST", "/api/chat", json=CHAT_BODY | {"stream": True}
    ) as response:
        first = await anext(response.aiter_text())
        assert first == 'event: token\ndata: {"t":"one"}\n\n'
    await migration.vendor.hung_up()
    await wait_until(lambda: migration.feature("chat").counters.legacy["cancelled"] == 1)


async def test_cohort_assignment_is_sticky_and_monotonic(migration) -> None:
    async def arms() -> dict[int, str]:
        async def arm(user: int) -> str:
            headers = {"x-hamlet-tester": "tester", "x-hamlet-probe": f"user-{user}"}
            response = await migration.http.post("/api/chat", json=CHAT_BODY, headers=headers)
            return response.headers["x-hamlet-arm"]

        return dict(enumerate(await asyncio.gather(*map(arm, range(60)))))

    members: set[int] = set()
    for weight in (500, 2000, 5000):
        await migration.set_feature_state("chat", "canary", weight)
        first, second = await arms(), await arms()
        assert first == second
        cohort = {user for user, arm in first.items() if arm == "new"}
        assert members <= cohort
        members = cohort
    assert 15 <= len(members) <= 45
    before = len(migration.vendor.requests)
    body = {**CHAT_BODY, "conversationId": f"user-{next(iter(members))}"}
    assert (await migration.http.post("/api/chat", json=body)).json()["ok"]
    await wait_until(lambda: migration.feature("chat").counters.new["ok"] == 1)
    assert len(migration.vendor.requests) == before + 1


@pytest.mark.parametrize("failure", ["status", "timeout"])
async def test_new_arm_failure_falls_back_to_legacy(migration, failure) -> None:
    """hamlet1 calls `vendor-model`, hamlet calls gpt-4o: only hamlet's model fails."""

    def fail_new_arm(request):
        if request.json["model"] == "vendor-model":
            return respond(request)
        return json_reply({}, 500) if failure == "status" else Canned(before="hang")

    migration.vendor.respond(fail_new_arm)
    await migration.set_feature_state("chat", "new")
    start = time.monotonic()
    for body in (CHAT_BODY, CHAT_BODY | {"stream": True}):
        response = await migration.http.post("/api/chat", json=body)
        assert response.status_code == 200
        assert "E_UPSTREAM" not in response.text
    assert time.monotonic() - start < 8
    counters = migration.feature("chat").counters
    assert (counters.new["rescued"], counters.new["ok"], counters.legacy.total()) == (2, 0, 0)
    metrics = (await migration.http.get("/metrics")).text
    assert f'rescues_total{{feature="chat",reason="{failure}"}} 2.0' in metrics


async def test_fallback_happens_once_and_only_before_first_byte(migration) -> None:
    await migration.set_feature_state("chat", "new")
    cut = b'data: {"id":"c","object":"chat.completion.chunk","created":1,"model":"m","choices":[{"index":0,"delta":{"content":"to"},"finish_reason":null}]}\n\n'
    migration.vendor.reply(
        Canned(200, {"content-type": "text/event-stream"}, [cut], end="truncate")
    )
    response = await migration.http.post("/api/chat", json=CHAT_BODY | {"stream": True})
    assert response.text.startswith('event: token\ndata: {"t":"to"}\n\nevent: error\n')
    assert len(migration.vendor.requests) == 1
    assert migration.feature("chat").counters.new["failed"] == 1

    await migration.legacy.stop()
    migration.vendor.reply(json_reply({}, 500))
    response = await migration.http.post("/api/chat", json=CHAT_BODY)
    assert response.status_code == 502
    assert response.json()["error"]["code"] == "E_UPSTREAM"


async def test_failing_new_arm_is_rolled_back_within_seconds(migration) -> None:
    def fail_new_arm(request):
        return respond(request) if request.json["model"] == "vendor-model" else json_reply({}, 500)

    migration.vendor.respond(fail_new_arm)
    await migration.set_feature_state("chat", "canary", 5000)
    start = time.monotonic()
    sent = 0
    while migration.local_state.feature_state("chat").stage == "canary":
        response = await migration.http.post(
            "/api/chat", json=CHAT_BODY | {"conversationId": f"c{sent}"}
        )
        assert response.json()["ok"]
        sent += 1
        assert time.monotonic() - start < 10
    assert migration.local_state.feature_state("chat").stage == "proxy"
    await wait_until(lambda: migration.controller.state_store.read_journal())
    entry = migration.controller.state_store.read_journal()[-1]
    assert (entry.before, entry.after, entry.cause) == ("canary 50%", "proxy", "guardrail")
    assert entry.evidence["bad"] >= 5
    assert migration.controller.read().feature_state("chat").cooldown_until > time.time()


async def test_shadow_calls_compare_and_never_reach_clients(migration) -> None:
    await migration.set_feature_state("chat", "shadow", shadow_percent=100)
    for body in (CHAT_BODY, CHAT_BODY | {"stream": True}):
        response = await migration.http.post(
            "/api/chat", json=body, headers={"authorization": "Bearer x"}
        )
        assert "x-powered-by" in response.headers
    await wait_until(lambda: migration.feature("chat").counters.comparisons == 2)
    assert migration.feature("chat").counters.candidate == {"equal": 2}
    events = [json.loads(line) for line in migration.running.log.getvalue().splitlines()]
    calls = [event for event in events if event["event"] == "call"]
    assert len(calls) == 2
    assert all(call["caller"].startswith("shadow:") for call in calls)
    assert all(call["request_id"].startswith("shadow-") for call in calls)


PRICES = "prices: {legacy: {input: 1, output: 1}, new: {input: 2, output: 2}}\n  shadow: {"


async def test_reverse_shadow_calls_legacy_after_new_arm(tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("TEST_TESTER_KEY", "tester")
    reverse = {"noise_percent__0": "noise_percent: 0, reverse_percent: 100"}
    async with migration_harness(tmp_path, **reverse) as harness:
        await harness.set_feature_state("chat", "new")
        assert (await harness.http.post("/api/chat", json=CHAT_BODY)).json()["ok"]
        counters = harness.feature("chat").counters
        await wait_until(lambda: counters.reverse.total() == 1)
        assert counters.reverse == {"equal": 1}
        assert (counters.new["ok"], counters.legacy.total(), counters.comparisons) == (1, 0, 0)
        models = [request.json["model"] for request in harness.vendor.requests]
        assert models == ["gpt-4o", "vendor-model"]


async def test_shadow_spend_is_bounded_by_budget(tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("TEST_TESTER_KEY", "tester")
    budget = {"noise_percent__0": "noise_percent: 0, usd_per_hour: 0.0000001"}
    async with migration_harness(tmp_path, **budget, **{"shadow: {": PRICES}) as harness:
        await harness.set_feature_state("chat", "shadow", shadow_percent=100)
        for _ in range(2):
            assert (await harness.http.post("/api/chat", json=CHAT_BODY)).json()["ok"]
            await wait_until(lambda: harness.feature("chat").counters.comparisons == 1)
        counters = harness.feature("chat").counters
        assert counters.priced == {"legacy": 1, "new": 1}
        assert counters.mean_usd("new") == pytest.approx(2 * counters.mean_usd("legacy"))
        metrics = (await harness.http.get("/metrics")).text
        assert 'shadow_dropped_total{feature="chat",reason="budget"} 1.0' in metrics


async def test_contract_violation_holds_feature(migration) -> None:
    def change_finish_reason(request):
        response = respond(request)
        if request.json["model"] == "vendor-model":
            return response
        body = json.loads(response.pieces[0])
        body["choices"][0]["finish_reason"] = "content_filter"
        return json_reply(body)

    migration.vendor.respond(change_finish_reason)
    await migration.set_feature_state("chat", "shadow", shadow_percent=100)
    assert (await migration.http.post("/api/chat", json=CHAT_BODY)).json()["ok"]
    await wait_until(
        lambda: (migration.controller.read().feature_state("chat").hold or "").startswith(
            "guardrail contract"
        )
    )
    assert migration.local_state.feature_state("chat").stage == "shadow"
    mismatch = migration.feature("chat").mismatches[0]
    assert mismatch["verdict"] == "contract_mismatch"
    assert "finish" in mismatch["paths"]
    assert "Seoul" not in json.dumps(mismatch)


async def test_unreadable_state_keeps_current_stages(migration, tmp_path) -> None:
    await migration.set_feature_state("chat", "canary", 5000)
    state = tmp_path / "state.json"
    good = state.read_text()
    state.write_text("{")
    await wait_until(lambda: not migration.local_state.is_readable)
    assert migration.local_state.feature_state("chat").weight_bp == 5000
    assert (await migration.http.post("/api/chat", json=CHAT_BODY)).json()["ok"]

    await migration.local_state.demote("chat", ("proxy", 0), "test", {})
    assert migration.local_state.feature_state("chat").stage == "proxy"
    state.write_text(good)
    await wait_until(lambda: migration.local_state.is_readable)
    await wait_until(lambda: migration.controller.read().feature_state("chat").stage == "proxy")
    assert migration.local_state.feature_state("chat").stage == "proxy"
