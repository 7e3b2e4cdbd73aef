"""Events: verified by signature, counted once, rejected one by one, and stored."""

import time
from pathlib import Path

import httpx2
import pytest

from hamlet.suggest.event_store import Event
from hamlet.suggest.item_tokens import ShownItem, TokenSigner
from support.server import EMBEDDED_PROVIDER, EMBEDDED_ROUTES, environment, run_server


@pytest.fixture
async def running():
    async with run_server() as running:
        yield running


@pytest.fixture
async def http(running):
    async with httpx2.AsyncClient(base_url=running.url) as http:
        yield http


async def fetch_tokens(http) -> list[str]:
    shown = (await http.post("/v1/suggest", json={"context": {"query": "날씨"}})).json()
    return [item["token"] for part in ("chips", "links") for item in shown[part]["items"]]


def make_event(id_: str, token: str, type_: str = "impression", **more: object) -> dict:
    return {"event_id": f"event-00{id_}", "type": type_, "token": token, **more}


async def test_counts_each_event_once_by_tier_and_position(http) -> None:
    first, second, *_ = await fetch_tokens(http)
    batch = [make_event("1", first), make_event("2", first, "click"), make_event("3", second)]
    for expected in ({"accepted": 3, "duplicates": 0}, {"accepted": 0, "duplicates": 3}):
        response = await http.post("/v1/events", json={"events": batch})
        assert response.status_code == 202
        assert response.json() == {**expected, "rejected": []}
    rates = (await http.get("/v1/admin/suggestions/ctr")).json()
    rows = [(r["position"], r["impressions"], r["clicks"], r["ctr"]) for r in rates]
    assert rows == [(1, 1, 1, 1.0), (2, 1, 0, 0.0)]


async def test_invalid_events_are_rejected_one_by_one(http) -> None:
    good, *_ = await fetch_tokens(http)
    forged = TokenSigner(b"another secret").sign(ShownItem("sg", "ch", "chips", "llm", 1))
    batch = [
        make_event("1", good, ts=time.time() + 1e9),
        make_event("2", forged),
        make_event("3", good[:-4] + "AAAA"),
        make_event("4", "!!!"),
        make_event("5", good, "applause"),
        make_event("6", good, odd=1),
        3,
    ]
    summary = (await http.post("/v1/events", json={"events": batch})).json()
    assert summary["accepted"] == 1
    codes = [row["code"] for row in summary["rejected"]]
    assert codes == ["token", "token", "token", "invalid", "invalid", "invalid"]


async def test_beacon_sends_plain_text_and_limits_apply(http) -> None:
    plain = {"content-type": "text/plain"}
    response = await http.post("/v1/events", content=b'{"events": []}', headers=plain)
    assert response.json()["accepted"] == 0
    for bad in (b'{"events": 3}', b"{}", b"[]"):
        assert (await http.post("/v1/events", content=bad)).status_code == 400
    many = {"events": [make_event(str(i), "x") for i in range(101)]}
    assert (await http.post("/v1/events", json=many)).status_code == 400


async def test_events_survive_a_restart(tmp_path: Path) -> None:
    file = tmp_path / "events.sqlite3"
    config = (
        EMBEDDED_PROVIDER
        + EMBEDDED_ROUTES
        + f"suggest: {{events_db: '{file}', token_secret: env:TEST_TOKEN_SECRET}}\n"
    )
    async with environment({"TEST_TOKEN_SECRET": "a-secret-of-some-length"}):
        async with run_server(config) as running, httpx2.AsyncClient(base_url=running.url) as http:
            token = (await fetch_tokens(http))[0]
        async with run_server(config) as running, httpx2.AsyncClient(base_url=running.url) as http:
            summary = (
                await http.post("/v1/events", json={"events": [make_event("1", token)]})
            ).json()
            assert summary["accepted"] == 1
        async with run_server(config) as running:
            assert [
                rate.impressions for rate in await running.hamlet.main_screen.events.click_rates()
            ] == [1]


def test_signature_covers_the_whole_token() -> None:
    signer = TokenSigner(b"secret")
    shown = ShownItem("sg_1", "ln_1", "links", "web", 3, 0.25)
    token = signer.sign(shown)
    assert signer.verify(token) == shown
    for i in range(0, len(token), 7):
        changed = token[:i] + ("A" if token[i] != "A" else "B") + token[i + 1 :]
        assert signer.verify(changed) is None


async def test_exploration_reports_propensity_and_learns_from_clicks() -> None:
    explore = "suggest: {explore: true, token_secret: env:TEST_SECRET}\n"
    async with (
        environment({"TEST_SECRET": "s-1"}),
        run_server(EMBEDDED_PROVIDER + EMBEDDED_ROUTES + explore) as running,
    ):
        signer = running.hamlet.main_screen.signer
        async with httpx2.AsyncClient(base_url=running.url) as http:
            seen: dict[str, float] = {}
            firsts = set()
            for _ in range(12):
                body = {"context": {"query": "서울 지하철 막차"}}
                chips = (await http.post("/v1/suggest", json=body)).json()["chips"]["items"]
                shown = [signer.verify(chip["token"]) for chip in chips]
                assert [s.propensity for s in shown[:3]] == [1.0, 1.0, 1.0]
                firsts.add(tuple(s.item for s in shown[:3]))
                seen[shown[3].item] = shown[3].propensity
            assert len(firsts) == 1
            assert len(seen) > 1
            assert all(0 < propensity < 1 for propensity in seen.values())
            store = running.hamlet.main_screen.events
            clicked = next(iter(seen))
            item = ShownItem("sg", clicked, "chips", "embedded", 4, 0.5)
            at = time.time()
            events = [Event(f"event-{i:04}", "impression", at, item) for i in range(60)]
            events += [Event(f"click-{i:04}", "click", at, item) for i in range(50)]
            await store.add(events)
            assert await store.decayed_counts(at) == {clicked: (50.0, 60.0)}
            assert (await store.decayed_counts(at + 7 * 86_400))[clicked] == (25.0, 30.0)
