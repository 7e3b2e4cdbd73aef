"""`hamlet cutover`, as an operator types it, against a hamlet that serves."""

import asyncio
import json
import re

import pytest
from typer.testing import CliRunner

from hamlet.cli import app
from support.cutover import ASK, crossed
from support.hamlet1 import needs_node
from support.server import until

pytestmark = needs_node
GATE_CLOSED, CONFLICT, WRONG = 3, 4, 2


@pytest.fixture
async def both(tmp_path, monkeypatch):
    monkeypatch.setenv("TEST_TESTER_KEY", "tester")
    monkeypatch.setenv("COLUMNS", "300")
    async with crossed(tmp_path) as both:
        file = tmp_path / "hamlet.yaml"
        more = f"  replicas: [{both.running.url}]\n  edge: {{runtime: runtime.json}}\n"
        file.write_text(file.read_text() + more)
        yield both


@pytest.fixture
def cutover(tmp_path):
    async def run(*words: str, status: int = 0) -> str:
        words = ("cutover", *words, "--config", str(tmp_path / "hamlet.yaml"))
        done = await asyncio.to_thread(CliRunner().invoke, app, words)
        assert done.exit_code == status, (words, done.output, done.exception)
        return done.output

    return run


async def known(both) -> None:
    """hamlet goes by the latest document."""
    await until(lambda: both.view.document.epoch == both.board.read().epoch)


async def ask(both, count: int) -> None:
    for i in range(count):
        answer = await both.http.post("/api/chat", json=ASK | {"conversationId": f"c{i}"})
        assert answer.json()["ok"]


async def test_a_feature_goes_all_the_way_and_back(both, cutover, tmp_path) -> None:
    assert "epoch 1" in await cutover("set", "chat", "proxy", "--actor", "ann", "--why", "CHG-1")
    layer = json.loads((tmp_path / "runtime.json").read_text())["resources"][0]["layer"]
    assert layer["hamlet.adopted.chat.hamlet2"] == 100

    # Further up only with evidence, and it is said what is missing.
    closed = await cutover("advance", "chat", status=GATE_CLOSED)
    assert "0 of 20 requests have passed through" in closed
    assert "stays at proxy" in closed
    await cutover("set", "chat", "canary", "--percent", "1", status=GATE_CLOSED)
    await known(both)
    await ask(both, 20)
    await cutover("set", "chat", "shadow", "--sample", "100")
    await known(both)
    await ask(both, 6)
    await until(lambda: both.feature("chat").tally.compared >= 5)
    assert "canary 5%" not in await cutover("advance", "chat", "--to", "5", status=GATE_CLOSED)
    assert "canary 1%" in await cutover("advance", "chat", "--to", "1", "--actor", "ann")

    # The autopilot takes it from there, as fast as requests come.
    await both.put("chat", "canary", 5000)
    flight = asyncio.create_task(
        cutover("autopilot", "chat", "--plan", "50,100", "--every-s", "0.2", "--actor", "ann")
    )
    await ask(both, 60)
    flown = await flight
    assert "canary 50% -> new" in flown
    assert "the plan is done" in flown
    await known(both)
    await ask(both, 3)

    shown = await cutover("status")
    assert re.search(r"chat +new +\d+ +\d+ +0", shown), shown
    # hamlet stands for the edge here, which is right for what is adopted alone.
    verified = await cutover("verify", "--edge", both.running.url, status=1)
    assert "chat: new: 5 of 5 new" in verified

    page = tmp_path / "report.html"
    await cutover("report", "--since", "1h", "--html", str(page))
    html = page.read_text()
    assert "From hamlet1 to hamlet" in html
    assert "canary 50% → new" in html
    assert "Seoul" not in html
    assert "http" not in html
    assert "<script" not in html
    text = await cutover("report", "chat")
    assert re.search(r"new arm: \d+ requests, 0 bad", text)
    assert "by autopilot ann" in text

    rolled = await cutover("rollback", "--all", "--why", "drill", "--actor", "bob")
    assert "chat: legacy" in rolled
    layer = json.loads((tmp_path / "runtime.json").read_text())["resources"][0]["layer"]
    assert layer["hamlet.adopted.chat.hamlet2"] == 0
    assert "cools down" in await cutover("advance", "chat", status=GATE_CLOSED)
    await cutover("release", "chat", "--why", "drill is over")
    assert "chat: proxy" in await cutover("advance", "chat")
    steps = [(e.after, e.cause) for e in both.board.store.journal() if e.feature == "chat"]
    assert steps == [
        ("proxy", "operator"),
        ("proxy", "operator"),  # the share that is tried in the dark
        ("shadow", "operator"),
        ("canary 1%", "operator"),
        ("new", "autopilot"),
        ("legacy", "operator"),
        ("legacy", "operator"),
        ("proxy", "operator"),
    ]


async def test_a_hold_stops_operators_and_the_autopilot(both, cutover) -> None:
    await both.put("chips", "canary", 100)
    await cutover("hold", "chips", "--why", "election day")
    for words in (("advance", "chips"), ("autopilot", "chips", "--every-s", "0.1")):
        assert "election day" in await cutover(*words, status=GATE_CLOSED)
    assert "epoch" in await cutover("release", "chips")


async def test_verify_finds_an_edge_that_does_otherwise(both, cutover) -> None:
    """hamlet1 itself as the edge: it sends nothing to hamlet."""
    assert "chat: legacy: hamlet1" in await cutover("verify", "--edge", both.old.url)
    await both.put("chat", "proxy")
    wrong = await cutover("verify", "--edge", both.old.url, status=1)
    assert "WRONG: the edge does not send it to hamlet" in wrong


async def test_what_is_typed_wrong_is_said(both, cutover, tmp_path) -> None:
    assert "did you mean chat" in await cutover("hold", "chta", status=WRONG)
    assert "no such stage" in await cutover("set", "chat", "moon", status=WRONG)
    assert "say --all" in await cutover("rollback", status=WRONG)
    assert "growing percents" in await cutover("autopilot", "chat", "--plan", "5,1", status=WRONG)
    assert "--since" in await cutover("report", "--since", "soon", status=WRONG)
    assert "there is a state already" in await cutover("init", status=WRONG)
    (tmp_path / "state.json").unlink()
    assert "cannot be used" in await cutover("status", status=WRONG)
    assert "chat" in await cutover("init")
    assert "xds" not in await cutover("export", "--format", "envoy")


async def test_a_configuration_that_does_not_fit_is_refused_with_its_line(both, tmp_path) -> None:
    file = tmp_path / "hamlet.yaml"
    good = file.read_text()
    rule = "{path: $.x, owner: ann, reason: known, expires: 2020-01-01}"
    cases = {
        good.replace("chat_route: chat", "chat_route: chta"): "cutover.chat_route",
        good.replace("rescue_after_s: 2", f"ignore: [{rule}]"): "cutover.features.chat.ignore[0]",
        good.replace("paths: [/api/chips]", "paths: [/api/chat]"): "cutover",
        good.replace("paths: [/api/chips]", "paths: [chips]"): "cutover.features.chips.paths",
    }
    for text, path in cases.items():
        file.write_text(text)
        done = CliRunner().invoke(app, ["config", "check", str(file)])
        assert done.exit_code == WRONG
        assert re.search(rf"hamlet.yaml:\d+: {re.escape(path)}", done.output), done.output
