"""The crossing: passing through byte for byte, cohorts, rescue, shadow, guardrails."""

import asyncio
import json
import time

import httpx2
import pytest

from hamlet.testing import Canned, json_reply
from support.cutover import ASK, crossed
from support.hamlet1 import needs_node
from support.server import until
from support.vendor import respond

pytestmark = needs_node
NEW = {"x-hamlet-tester": "tester", "x-hamlet-arm": "new"}


@pytest.fixture
async def both(tmp_path, monkeypatch):
    monkeypatch.setenv("TEST_TESTER_KEY", "tester")
    async with crossed(tmp_path) as both:
        yield both


def without_dates(response: httpx2.Response) -> list[tuple[bytes, bytes]]:
    """The headers but for the date, and those that concern the connection alone."""
    hop = (b"date", b"server", b"connection", b"keep-alive", b"transfer-encoding")
    return sorted((k.lower(), v) for k, v in response.headers.raw if k.lower() not in hop)


async def test_what_passes_through_is_the_same_to_the_byte(both) -> None:
    async with httpx2.AsyncClient(base_url=both.old.url) as direct:
        calls = [
            ("GET", "/api/profile?a=%2F&b=%ED%95%9C&b=2", {}),
            ("GET", "/assets/app.js", {}),
            ("HEAD", "/assets/app.js", {}),
            ("POST", "/api/upload", {"content": b"\0\xff" * 200_000}),
            ("PUT", "/api/upload", {"content": b"", "headers": {"content-type": "x/y; z=1"}}),
        ]
        for method, path, more in calls:
            pair = []
            for http in (direct, both.http):
                async with http.stream(method, path, **more) as response:
                    raw = b"".join([part async for part in response.aiter_raw()])
                    pair.append((response.status_code, without_dates(response), raw))
            assert pair[0] == pair[1], path
    assert both.feature("rest").tally.legacy["ok"] >= 4

    async def pieces():
        for _ in range(5):
            yield b"x" * 30_000

    chunked = await both.http.post("/api/upload", content=pieces())
    assert chunked.json()["bytes"] == 150_000


async def test_a_stream_passes_through_as_it_comes_and_ends_when_the_client_leaves(both) -> None:
    gate = asyncio.Event()
    frames = [b'data: {"choices":[{"delta":{"content":"one"}}]}\n\n', b"data: [DONE]\n\n"]
    both.vendor.reply(Canned(200, {"content-type": "text/event-stream"}, frames, gate=gate))
    async with both.http.stream("POST", "/api/chat", json=ASK | {"stream": True}) as response:
        first = await anext(response.aiter_text())
        assert first == 'event: token\ndata: {"t":"one"}\n\n'
    await both.vendor.hung_up()
    await until(lambda: both.feature("chat").tally.legacy["cancelled"] == 1)


async def test_a_share_is_kept_by_the_same_users_and_only_grows(both) -> None:
    async def arms() -> dict[int, str]:
        async def arm(user: int) -> str:
            headers = {"x-hamlet-tester": "tester", "x-hamlet-probe": f"user-{user}"}
            response = await both.http.post("/api/chat", json=ASK, headers=headers)
            return response.headers["x-hamlet-arm"]

        return dict(enumerate(await asyncio.gather(*map(arm, range(60)))))

    members: set[int] = set()
    for weight in (500, 2000, 5000):
        await both.put("chat", "canary", weight)
        first, second = await arms(), await arms()
        assert first == second
        cohort = {user for user, arm in first.items() if arm == "new"}
        assert members <= cohort
        members = cohort
    assert 15 <= len(members) <= 45
    before = len(both.vendor.requests)
    chosen = next(iter(members))
    asked = {**ASK, "conversationId": f"user-{chosen}"}
    assert (await both.http.post("/api/chat", json=asked)).json()["ok"]
    await until(lambda: both.feature("chat").tally.new["ok"] == 1)
    assert len(both.vendor.requests) == before + 1


@pytest.mark.parametrize("trouble", ["status", "timeout"])
async def test_what_the_new_arm_cannot_answer_is_answered_by_hamlet1(both, trouble) -> None:
    """hamlet1 asks for `vendor-model`, hamlet for gpt-4o: only hamlet's model is in trouble."""

    def one_sided(request):
        if request.json["model"] == "vendor-model":
            return respond(request)
        return json_reply({}, 500) if trouble == "status" else Canned(before="hang")

    both.vendor.respond(one_sided)
    await both.put("chat", "new")
    start = time.monotonic()
    for ask in (ASK, ASK | {"stream": True}):
        response = await both.http.post("/api/chat", json=ask)
        assert response.status_code == 200
        assert "E_UPSTREAM" not in response.text
    assert time.monotonic() - start < 8
    tally = both.feature("chat").tally
    assert (tally.new["rescued"], tally.new["ok"], tally.legacy.total()) == (2, 0, 0)
    metrics = (await both.http.get("/metrics")).text
    assert f'rescues_total{{feature="chat",reason="{trouble}"}} 2.0' in metrics


async def test_nothing_is_rescued_twice_or_after_it_has_begun(both) -> None:
    await both.put("chat", "new")
    cut = b'data: {"id":"c","object":"chat.completion.chunk","created":1,"model":"m","choices":[{"index":0,"delta":{"content":"to"},"finish_reason":null}]}\n\n'
    both.vendor.reply(Canned(200, {"content-type": "text/event-stream"}, [cut], end="truncate"))
    response = await both.http.post("/api/chat", json=ASK | {"stream": True})
    assert response.text.startswith('event: token\ndata: {"t":"to"}\n\nevent: error\n')
    assert len(both.vendor.requests) == 1
    assert both.feature("chat").tally.new["failed"] == 1

    await both.old.stop()
    both.vendor.reply(json_reply({}, 500))
    response = await both.http.post("/api/chat", json=ASK)
    assert response.status_code == 502
    assert response.json()["error"]["code"] == "E_UPSTREAM"


async def test_a_failing_new_arm_loses_its_users_within_seconds(both) -> None:
    def one_sided(request):
        return respond(request) if request.json["model"] == "vendor-model" else json_reply({}, 500)

    both.vendor.respond(one_sided)
    await both.put("chat", "canary", 5000)
    start = time.monotonic()
    sent = 0
    while both.view.state("chat").stage == "canary":
        response = await both.http.post("/api/chat", json=ASK | {"conversationId": f"c{sent}"})
        assert response.json()["ok"]
        sent += 1
        assert time.monotonic() - start < 10
    assert both.view.state("chat").stage == "proxy"
    await until(lambda: both.board.store.journal())
    entry = both.board.store.journal()[-1]
    assert (entry.before, entry.after, entry.cause) == ("canary 50%", "proxy", "guardrail")
    assert entry.evidence["bad"] >= 5
    assert both.board.read().of("chat").cooldown_until > time.time()


async def test_shadowing_compares_and_is_never_seen(both) -> None:
    await both.put("chat", "shadow", shadow_percent=100)
    for ask in (ASK, ASK | {"stream": True}):
        response = await both.http.post(
            "/api/chat", json=ask, headers={"authorization": "Bearer x"}
        )
        assert "x-powered-by" in response.headers
    tally = lambda: both.feature("chat").tally  # noqa: E731
    await until(lambda: tally().compared == 2)
    assert tally().candidate == {"equal": 2}
    calls = [json.loads(line) for line in both.running.log.getvalue().splitlines()]
    dark = [call for call in calls if call["event"] == "call"]
    assert len(dark) == 2
    assert all(call["caller"].startswith("shadow:") for call in dark)
    assert all(call["request_id"].startswith("shadow-") for call in dark)


PRICES = "prices: {legacy: {input: 1, output: 1}, new: {input: 2, output: 2}}\n  shadow: {"


async def test_hamlet1_is_asked_afterwards_what_the_new_arm_has_answered(
    tmp_path, monkeypatch
) -> None:
    monkeypatch.setenv("TEST_TESTER_KEY", "tester")
    reverse = {"noise_percent__0": "noise_percent: 0, reverse_percent: 100"}
    async with crossed(tmp_path, **reverse) as both:
        await both.put("chat", "new")
        assert (await both.http.post("/api/chat", json=ASK)).json()["ok"]
        tally = both.feature("chat").tally
        await until(lambda: tally.reverse.total() == 1)
        assert tally.reverse == {"equal": 1}
        assert (tally.new["ok"], tally.legacy.total(), tally.compared) == (1, 0, 0)
        asked = [request.json["model"] for request in both.vendor.requests]
        assert asked == ["gpt-4o", "vendor-model"]


async def test_trying_in_the_dark_is_priced_and_ends_with_its_budget(tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("TEST_TESTER_KEY", "tester")
    budget = {"noise_percent__0": "noise_percent: 0, usd_per_hour: 0.0000001"}
    async with crossed(tmp_path, **budget, **{"shadow: {": PRICES}) as both:
        await both.put("chat", "shadow", shadow_percent=100)
        for _ in range(2):
            assert (await both.http.post("/api/chat", json=ASK)).json()["ok"]
            await until(lambda: both.feature("chat").tally.compared == 1)
        tally = both.feature("chat").tally
        assert tally.priced == {"legacy": 1, "new": 1}
        assert tally.mean_usd("new") == pytest.approx(2 * tally.mean_usd("legacy"))
        metrics = (await both.http.get("/metrics")).text
        assert 'shadow_dropped_total{feature="chat",reason="budget"} 1.0' in metrics


async def test_a_broken_contract_holds_the_feature_where_it_is(both) -> None:
    def without_usage(request):
        answer = respond(request)
        if request.json["model"] == "vendor-model":
            return answer
        body = json.loads(answer.pieces[0])
        body["choices"][0]["finish_reason"] = "content_filter"
        return json_reply(body)

    both.vendor.respond(without_usage)
    await both.put("chat", "shadow", shadow_percent=100)
    assert (await both.http.post("/api/chat", json=ASK)).json()["ok"]
    await until(lambda: (both.board.read().of("chat").hold or "").startswith("guardrail contract"))
    assert both.view.state("chat").stage == "shadow"
    mismatch = both.feature("chat").mismatches[0]
    assert mismatch["verdict"] == "contract_mismatch"
    assert "finish" in mismatch["paths"]
    assert "Seoul" not in json.dumps(mismatch)


async def test_an_unreadable_state_changes_nothing_and_raises_nothing(both, tmp_path) -> None:
    await both.put("chat", "canary", 5000)
    state = tmp_path / "state.json"
    good = state.read_text()
    state.write_text("{")
    await until(lambda: not both.view.readable)
    assert both.view.state("chat").weight_bp == 5000
    assert (await both.http.post("/api/chat", json=ASK)).json()["ok"]

    await both.view.lower("chat", ("proxy", 0), "test", {})
    assert both.view.state("chat").stage == "proxy"
    state.write_text(good)
    await until(lambda: both.view.readable)
    await until(lambda: both.board.read().of("chat").stage == "proxy")
    assert both.view.state("chat").stage == "proxy"
