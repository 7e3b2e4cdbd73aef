"""Two hamlets as processes: clocks apart, states apart or broken. The lowest exposure wins."""

import asyncio
import json
import time
from contextlib import asynccontextmanager
from pathlib import Path

import httpx2
from typer.testing import CliRunner

from hamlet.cli import app
from hamlet.migration import Document, FeatureState, FileStore
from hamlet.testing import LoopbackUpstream, json_reply
from support.cutover import ASK, CONFIG
from support.hamlet1 import hamlet1, needs_node
from support.process import Started, started
from support.vendor import respond

pytestmark = needs_node
GATE_CLOSED = 3
HOUR = 3600.0


class Replica:
    """A hamlet, the file it reads the state from, and what it says of itself."""

    def __init__(self, process: Started, http: httpx2.AsyncClient, state: Path) -> None:
        self.url, self.http, self.state = process.url, http, state

    async def told(self) -> dict:
        return (await self.http.get(f"{self.url}/v1/admin/cutover")).json()

    async def stands(self) -> str:
        state = (await self.told())["features"]["chat"]["state"]
        return FeatureState.model_validate(state).step

    async def comes_to(self, step: str) -> None:
        async with asyncio.timeout(60):
            while await self.stands() != step:
                await asyncio.sleep(0.05)

    async def reads(self, *, readable: bool) -> None:
        async with asyncio.timeout(60):
            while (await self.told())["readable"] is not readable:
                await asyncio.sleep(0.05)


def document(epoch: int, stage: str, weight_bp: int = 0) -> str:
    state = FeatureState(stage=stage, weight_bp=weight_bp, changed=epoch)
    return Document(epoch=epoch, features={"chat": state}).text()


@asynccontextmanager
async def two(folder: Path, monkeypatch, *, states: tuple[str, str], off_s: float):
    """Two replicas over their own files, or one file if both are named alike."""
    monkeypatch.setenv("TEST_TESTER_KEY", "tester")
    async with (
        LoopbackUpstream() as vendor,
        hamlet1(f"{vendor.url}/v1") as old,
        httpx2.AsyncClient(timeout=60) as http,
    ):
        vendor.respond(respond)
        files = []
        for number, state in enumerate(states):
            text = CONFIG.format(vendor=vendor.url, legacy=old.url).replace("state.json", state)
            files.append(folder / f"hamlet{number}.yaml")
            files[-1].write_text(text)
        async with started(files[0]) as a, started(files[1], clock_off_s=off_s) as b:
            pairs = zip((a, b), states, strict=True)
            yield vendor, [Replica(process, http, folder / state) for process, state in pairs]


async def test_a_replica_with_a_wrong_clock_lowers_and_keeps_all_from_being_raised(
    tmp_path, monkeypatch
) -> None:
    store = FileStore(tmp_path / "state.json")
    store.create(Document.model_validate_json(document(1, "canary", 5000)))
    both = ("state.json", "state.json")
    async with two(tmp_path, monkeypatch, states=both, off_s=-HOUR) as (vendor, (right, wrong)):
        await right.comes_to("canary 50%")
        await wrong.comes_to("canary 50%")
        assert abs((await wrong.told())["clock"] - time.time() + HOUR) < 60

        vendor.respond(
            lambda r: respond(r) if r.json["model"] == "vendor-model" else json_reply({}, 500)
        )
        sent = 0
        while await wrong.stands() == "canary 50%":
            ask = ASK | {"conversationId": f"c{sent}"}
            assert (await wrong.http.post(f"{wrong.url}/api/chat", json=ask)).json()["ok"]
            sent += 1
            assert sent < 500
        await right.comes_to("proxy")
        await wrong.comes_to("proxy")

        # A clock that is behind writes a cooling down that is over: the gate stays closed all the same.
        file = tmp_path / "hamlet0.yaml"
        file.write_text(file.read_text() + f"  replicas: [{right.url}, {wrong.url}]\n")
        words = ["cutover", "advance", "chat", "--config", str(file)]
        monkeypatch.setenv("COLUMNS", "300")
        done = await asyncio.to_thread(CliRunner().invoke, app, words)
        assert done.exit_code == GATE_CLOSED, done.output
        assert f"the clock of {wrong.url} is -3600 s off" in done.output
        moves = [(entry.before, entry.after, entry.cause) for entry in store.journal()]
        assert moves == [("canary 50%", "proxy", "guardrail")]
        assert store.read().of("chat").stage == "proxy"


async def test_of_states_that_differ_or_break_the_lowest_exposure_wins(
    tmp_path, monkeypatch
) -> None:
    (tmp_path / "a.json").write_text(document(5, "canary", 5000))
    (tmp_path / "b.json").write_text("{")
    states = ("a.json", "b.json")
    async with two(tmp_path, monkeypatch, states=states, off_s=-HOUR) as (_, replicas):
        late, blind = replicas
        await late.comes_to("canary 50%")
        # What cannot be read at start is hamlet1's.
        assert await blind.stands() == "legacy"
        assert (await blind.told())["readable"] is False
        blind.state.write_text(document(5, "canary", 5000))
        await blind.comes_to("canary 50%")

        async def all_read(text: str, step: str) -> None:
            """Both have looked at `text`, and stand where they should."""
            for replica in replicas:
                replica.state.write_text("unreadable")
                await replica.reads(readable=False)
                stood = await replica.stands()
                replica.state.write_text(text)
                await replica.reads(readable=True)
                assert stood != "legacy"
                assert await replica.stands() == step, json.dumps(await replica.told())

        await all_read(document(5, "canary", 500), "canary 5%")
        await all_read(document(5, "canary", 5000), "canary 5%")
        await all_read(document(4, "new"), "canary 5%")
        await all_read(document(3, "canary", 100), "canary 1%")
        # A higher epoch is somebody's decision, and the only way up.
        await all_read(document(6, "canary", 2000), "canary 20%")

        for replica in replicas:
            replica.state.unlink()
            await replica.reads(readable=False)
            assert await replica.stands() == "canary 20%"
