"""Two replicas with different clocks, or with different or broken states: the lowest exposure wins."""

import asyncio
import json
import time
from contextlib import asynccontextmanager
from pathlib import Path

import httpx2
from typer.testing import CliRunner

from hamlet.cli import app
from hamlet.migration.file_store import FileStore
from hamlet.migration.rollout_document import FeatureState, RolloutDocument
from hamlet.testing import LoopbackUpstream, json_reply
from support.hamlet1 import hamlet1, needs_node
from support.loopback_vendor import respond
from support.migration import CHAT_BODY, CONFIG
from support.server_process import ServerProcess, run_server_process

pytestmark = needs_node
GATE_CLOSED = 3
HOUR = 3600.0


class Replica:
    """A hamlet process, its state file and its admin API."""

    def __init__(self, process: ServerProcess, http: httpx2.AsyncClient, state: Path) -> None:
        self.url, self.http, self.state = process.url, http, state

    async def migration_status(self) -> dict:
        return (await self.http.get(f"{self.url}/v1/admin/cutover")).json()

    async def current_step(self) -> str:
        state = (await self.migration_status())["features"]["chat"]["state"]
        return FeatureState.model_validate(state).step_label

    async def wait_for_step(self, step: str) -> None:
        async with asyncio.timeout(60):
            while await self.current_step() != step:
                await asyncio.sleep(0.05)

    async def wait_for_readable(self, *, readable: bool) -> None:
        async with asyncio.timeout(60):
            while (await self.migration_status())["readable"] is not readable:
                await asyncio.sleep(0.05)


def document_text(epoch: int, stage: str, weight_bp: int = 0) -> str:
    state = FeatureState(stage=stage, weight_bp=weight_bp, changed=epoch)
    return RolloutDocument(epoch=epoch, features={"chat": state}).to_json()


@asynccontextmanager
async def run_two_replicas(
    folder: Path, monkeypatch, *, states: tuple[str, str], clock_offset_s: float
):
    """Two replicas over a state file each, or one shared file if the names are equal."""
    monkeypatch.setenv("TEST_TESTER_KEY", "tester")
    async with (
        LoopbackUpstream() as vendor,
        hamlet1(f"{vendor.url}/v1") as legacy,
        httpx2.AsyncClient(timeout=60) as http,
    ):
        vendor.respond(respond)
        files = []
        for number, state in enumerate(states):
            text = CONFIG.format(vendor=vendor.url, legacy=legacy.url).replace("state.json", state)
            files.append(folder / f"hamlet{number}.yaml")
            files[-1].write_text(text)
        async with (
            run_server_process(files[0]) as a,
            run_server_process(files[1], clock_offset_s=clock_offset_s) as b,
        ):
            pairs = zip((a, b), states, strict=True)
            yield vendor, [Replica(process, http, folder / state) for process, state in pairs]


async def test_replica_with_wrong_clock_demotes_and_blocks_promotion(tmp_path, monkeypatch) -> None:
    store = FileStore(tmp_path / "state.json")
    store.create(RolloutDocument.model_validate_json(document_text(1, "canary", 5000)))
    both = ("state.json", "state.json")
    async with run_two_replicas(tmp_path, monkeypatch, states=both, clock_offset_s=-HOUR) as (
        vendor,
        (right, wrong),
    ):
        await right.wait_for_step("canary 50%")
        await wrong.wait_for_step("canary 50%")
        assert abs((await wrong.migration_status())["clock"] - time.time() + HOUR) < 60

        vendor.respond(
            lambda r: respond(r) if r.json["model"] == "vendor-model" else json_reply({}, 500)
        )
        sent = 0
        while await wrong.current_step() == "canary 50%":
            body = CHAT_BODY | {"conversationId": f"c{sent}"}
            assert (await wrong.http.post(f"{wrong.url}/api/chat", json=body)).json()["ok"]
            sent += 1
            assert sent < 500
        await right.wait_for_step("proxy")
        await wrong.wait_for_step("proxy")

        # The slow clock has written a cooldown that is already over: the gate stays closed nevertheless.
        file = tmp_path / "hamlet0.yaml"
        file.write_text(file.read_text() + f"  replicas: [{right.url}, {wrong.url}]\n")
        words = ["cutover", "advance", "chat", "--config", str(file)]
        monkeypatch.setenv("COLUMNS", "300")
        result = await asyncio.to_thread(CliRunner().invoke, app, words)
        assert result.exit_code == GATE_CLOSED, result.output
        assert f"the clock of {wrong.url} is -3600 s off" in result.output
        changes = [(entry.before, entry.after, entry.cause) for entry in store.read_journal()]
        assert changes == [("canary 50%", "proxy", "guardrail")]
        assert store.read().feature_state("chat").stage == "proxy"


async def test_lowest_exposure_wins_on_divergent_state(tmp_path, monkeypatch) -> None:
    (tmp_path / "a.json").write_text(document_text(5, "canary", 5000))
    (tmp_path / "b.json").write_text("{")
    states = ("a.json", "b.json")
    async with run_two_replicas(tmp_path, monkeypatch, states=states, clock_offset_s=-HOUR) as (
        _,
        replicas,
    ):
        readable, unreadable = replicas
        await readable.wait_for_step("canary 50%")
        # A state that cannot be read at startup means that hamlet1 serves.
        assert await unreadable.current_step() == "legacy"
        assert (await unreadable.migration_status())["readable"] is False
        unreadable.state.write_text(document_text(5, "canary", 5000))
        await unreadable.wait_for_step("canary 50%")

        async def assert_step_after(text: str, step: str) -> None:
            """Both replicas read `text`, and are then at `step`."""
            for replica in replicas:
                replica.state.write_text("unreadable")
                await replica.wait_for_readable(readable=False)
                step_before = await replica.current_step()
                replica.state.write_text(text)
                await replica.wait_for_readable(readable=True)
                assert step_before != "legacy"
                assert await replica.current_step() == step, json.dumps(
                    await replica.migration_status()
                )

        await assert_step_after(document_text(5, "canary", 500), "canary 5%")
        await assert_step_after(document_text(5, "canary", 5000), "canary 5%")
        await assert_step_after(document_text(4, "new"), "canary 5%")
        await assert_step_after(document_text(3, "canary", 100), "canary 1%")
        # Only a higher epoch, which is an operator's decision, raises exposure.
        await assert_step_after(document_text(6, "canary", 2000), "canary 20%")

        for replica in replicas:
            replica.state.unlink()
            await replica.wait_for_readable(readable=False)
            assert await replica.current_step() == "canary 20%"
