"""`hamlet cutover` against a running hamlet."""

import asyncio
import json
import re

import pytest
from typer.testing import CliRunner

from hamlet.cli import app
from support.hamlet1 import needs_node
from support.migration import CHAT_BODY, migration_harness
from support.server import wait_until

pytestmark = needs_node
GATE_CLOSED, CONFLICT, USAGE_ERROR = 3, 4, 2


@pytest.fixture
async def migration(tmp_path, monkeypatch):
    monkeypatch.setenv("TEST_TESTER_KEY", "tester")
    monkeypatch.setenv("COLUMNS", "300")
    async with migration_harness(tmp_path) as harness:
        file = tmp_path / "hamlet.yaml"
        more = f"  replicas: [{harness.running.url}]\n  edge: {{runtime: runtime.json}}\n"
        file.write_text(file.read_text() + more)
        yield harness


@pytest.fixture
def run_cutover(tmp_path):
    async def run(*words: str, status: int = 0) -> str:
        words = ("cutover", *words, "--config", str(tmp_path / "hamlet.yaml"))
        done = await asyncio.to_thread(CliRunner().invoke, app, words)
        assert done.exit_code == status, (words, done.output, done.exception)
        return done.output

    return run


async def wait_for_latest_document(migration) -> None:
    """Wait until hamlet has read the latest document."""
    await wait_until(
        lambda: migration.local_state.document.epoch == migration.controller.read().epoch
    )


async def send_chats(migration, count: int) -> None:
    for i in range(count):
        response = await migration.http.post(
            "/api/chat", json=CHAT_BODY | {"conversationId": f"c{i}"}
        )
        assert response.json()["ok"]


async def test_feature_promotes_to_top_and_rolls_back(migration, run_cutover, tmp_path) -> None:
    assert "epoch 1" in await run_cutover(
        "set", "chat", "proxy", "--actor", "ann", "--why", "CHG-1"
    )
    layer = json.loads((tmp_path / "runtime.json").read_text())["resources"][0]["layer"]
    assert layer["hamlet.adopted.chat.hamlet2"] == 100

    # Promotions need evidence, and the command lists what is missing.
    output = await run_cutover("advance", "chat", status=GATE_CLOSED)
    assert "0 of 20 requests have been proxied" in output
    assert "stays at proxy" in output
    await run_cutover("set", "chat", "canary", "--percent", "1", status=GATE_CLOSED)
    await wait_for_latest_document(migration)
    await send_chats(migration, 20)
    await run_cutover("set", "chat", "shadow", "--sample", "100")
    await wait_for_latest_document(migration)
    await send_chats(migration, 6)
    await wait_until(lambda: migration.feature("chat").counters.comparisons >= 5)
    assert "canary 5%" not in await run_cutover("advance", "chat", "--to", "5", status=GATE_CLOSED)
    assert "canary 1%" in await run_cutover("advance", "chat", "--to", "1", "--actor", "ann")

    # The autopilot promotes as fast as requests come.
    await migration.set_feature_state("chat", "canary", 5000)
    autopilot = asyncio.create_task(
        run_cutover("autopilot", "chat", "--plan", "50,100", "--every-s", "0.2", "--actor", "ann")
    )
    await send_chats(migration, 60)
    output = await autopilot
    assert "canary 50% -> new" in output
    assert "the plan is done" in output
    await wait_for_latest_document(migration)
    await send_chats(migration, 3)

    table = await run_cutover("status")
    assert re.search(r"chat +new +\d+ +\d+ +0", table), table
    # hamlet itself stands in for the edge, which is correct only for adopted features.
    verified = await run_cutover("verify", "--edge", migration.running.url, status=1)
    assert "chat: new: 5 of 5 new" in verified

    page = tmp_path / "report.html"
    await run_cutover("report", "--since", "1h", "--html", str(page))
    html = page.read_text()
    assert "From hamlet1 to hamlet" in html
    assert "canary 50% → new" in html
    assert "Seoul" not in html
    assert "http" not in html
    assert "<script" not in html
    text = await run_cutover("report", "chat")
    assert re.search(r"new arm: \d+ requests, 0 bad", text)
    assert "by autopilot ann" in text

    output = await run_cutover("rollback", "--all", "--why", "drill", "--actor", "bob")
    assert "chat: legacy" in output
    layer = json.loads((tmp_path / "runtime.json").read_text())["resources"][0]["layer"]
    assert layer["hamlet.adopted.chat.hamlet2"] == 0
    assert "cools down" in await run_cutover("advance", "chat", status=GATE_CLOSED)
    await run_cutover("release", "chat", "--why", "drill is over")
    assert "chat: proxy" in await run_cutover("advance", "chat")
    steps = [
        (e.after, e.cause)
        for e in migration.controller.state_store.read_journal()
        if e.feature == "chat"
    ]
    assert steps == [
        ("proxy", "operator"),
        ("proxy", "operator"),  # the percentage of shadowed requests
        ("shadow", "operator"),
        ("canary 1%", "operator"),
        ("new", "autopilot"),
        ("legacy", "operator"),
        ("legacy", "operator"),
        ("proxy", "operator"),
    ]


async def test_hold_blocks_operators_and_autopilot(migration, run_cutover) -> None:
    await migration.set_feature_state("chips", "canary", 100)
    await run_cutover("hold", "chips", "--why", "election day")
    for words in (("advance", "chips"), ("autopilot", "chips", "--every-s", "0.1")):
        assert "election day" in await run_cutover(*words, status=GATE_CLOSED)
    assert "epoch" in await run_cutover("release", "chips")


async def test_verify_reports_diverging_edge(migration, run_cutover) -> None:
    """hamlet1 itself stands in for the edge: it sends nothing to hamlet."""
    assert "chat: legacy: hamlet1" in await run_cutover("verify", "--edge", migration.legacy.url)
    await migration.set_feature_state("chat", "proxy")
    wrong = await run_cutover("verify", "--edge", migration.legacy.url, status=1)
    assert "WRONG: the edge does not send it to hamlet" in wrong


async def test_invalid_arguments_are_reported(migration, run_cutover, tmp_path) -> None:
    assert "did you mean chat" in await run_cutover("hold", "chta", status=USAGE_ERROR)
    assert "no such stage" in await run_cutover("set", "chat", "moon", status=USAGE_ERROR)
    assert "pass --all" in await run_cutover("rollback", status=USAGE_ERROR)
    assert "growing percentages" in await run_cutover(
        "autopilot", "chat", "--plan", "5,1", status=USAGE_ERROR
    )
    assert "--since" in await run_cutover("report", "--since", "soon", status=USAGE_ERROR)
    assert "there is a state already" in await run_cutover("init", status=USAGE_ERROR)
    (tmp_path / "state.json").unlink()
    assert "cannot be used" in await run_cutover("status", status=USAGE_ERROR)
    assert "chat" in await run_cutover("init")
    assert "xds" not in await run_cutover("export", "--format", "envoy")


async def test_inconsistent_configuration_is_refused_with_its_line(migration, tmp_path) -> None:
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
        assert done.exit_code == USAGE_ERROR
        assert re.search(rf"hamlet.yaml:\d+: {re.escape(path)}", done.output), done.output
