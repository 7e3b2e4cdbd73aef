"""The processes: one world, hamlet1's stand-in over it, and hamlet in three settings."""

from __future__ import annotations

import re
import shutil
import sys
import time
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from hamlet.migration import Document, FeatureState, FileStore
from loadtest.engine import Side
from loadtest.proc import Process, free_port, wait_for
from loadtest.versus.vendors import MODEL, PACES

SERVER = Path(__file__).parents[2] / "tests/hamlet1/server.js"
FEATURES = {"chat": "/api/chat", "related_links": "/api/related", "chips": "/api/chips"}
CONFIG = """
providers:
{providers}
  writer: {{kind: openai_compatible, base_url: "{world}/writer/v1"}}
routes:
  chat:
    deployments: [{deployments}]
  chips: {{deployments: [{{provider: writer, model: writer}}], policy: {{attempts: 1}}}}
suggest:
  chip_route: chips
  sources:
    web: {{kind: searxng, base_url: "{search}"}}
{more}
cutover:
  legacy_url: {hamlet1}
  state: state.json
  chat_route: chat
  features: {{{features}}}
"""
# A second search, asked beside the first: who answers first is taken.
_TWO_SEARCHES = """    other: {{kind: searxng, base_url: "{search}/other"}}
  hedge_after_s: 0
"""
# Nobody asks the same again so soon.
_NO_CACHE = "\n".join(
    f"  {half}_{age}_s: 0.05" for half in ("links", "chips") for age in ("fresh", "stale")
)


@dataclass(frozen=True, slots=True)
class Setting:
    """How one hamlet is set up: the accounts it knows, and what the main screen has."""

    name: str
    accounts: tuple[str, ...]
    two_searches: bool
    cache: bool


HAMLET1 = "hamlet1 (stand-in)"
SETTINGS = (
    Setting("hamlet2, one account, one search, no cache", ("one",), False, False),
    Setting("hamlet2, no cache", tuple(PACES), True, False),
    Setting("hamlet2, cache", tuple(PACES), True, True),
)


@dataclass(frozen=True, slots=True)
class Stage:
    """All sides, hamlet1 first, and their processes by name."""

    sides: list[Side]
    processes: Mapping[str, Process]

    @property
    def pids(self) -> dict[str, int]:
        return {name: process.pid for name, process in self.processes.items()}


@contextmanager
def stage(seed: int, folder: Path) -> Iterator[Stage]:
    """Start everything, and stop it after. Raises RuntimeError if something does not start."""
    node = shutil.which("node")
    if node is None:
        raise RuntimeError("node is not installed, and hamlet1's stand-in needs it")
    started: list[Process] = []
    try:
        world = _world(seed, folder, started)
        sides, processes = [], {}
        port = free_port()
        url = f"http://127.0.0.1:{port}"
        env = {
            "UPSTREAM": f"{world}/one/v1",
            "WRITER": f"{world}/writer/v1",
            "SEARCH": f"{world}/0",
        }
        one = Process([node, str(SERVER)], log=folder / "node.log", env={**env, "PORT": str(port)})
        started.append(one)
        wait_for(f"{url}/health", one, 30)
        sides.append(Side(HAMLET1, url, "", MODEL))
        processes[HAMLET1] = one
        for number, setting in enumerate(SETTINGS, 1):
            text = config(setting, world, url, f"{world}/{number}")
            at, process = _hamlet(text, folder / f"hamlet-{number}")
            started.append(process)
            wait_for(f"{at}/readyz", process, 60)
            sides.append(Side(setting.name, at, "", MODEL))
            processes[setting.name] = process
        yield Stage(sides, processes)
    finally:
        for process in reversed(started):
            process.stop()


def _world(seed: int, folder: Path, started: list[Process]) -> str:
    log = folder / "world.log"
    command = [sys.executable, "-m", "loadtest.versus.vendors", str(seed)]
    process = Process(command, log=log)
    started.append(process)
    while process.alive and time.monotonic() - process.started < 30:
        if told := re.search(r"http://\S+\n", log.read_text()):
            return told[0].strip()
        time.sleep(0.02)
    raise RuntimeError(f"the simulated world did not start: {log.read_text()[-500:]}")


def _hamlet(text: str, folder: Path) -> tuple[str, Process]:
    folder.mkdir()
    file = folder / "hamlet.yaml"
    file.write_text(text)
    new = {name: FeatureState(stage="new") for name in FEATURES}
    FileStore(folder / "state.json").create(Document(epoch=1, features=new))
    port = free_port()
    command = [sys.executable, "-m", "hamlet", "serve", "--port", str(port), "--config", str(file)]
    return f"http://127.0.0.1:{port}", Process(command, log=folder / "log")


def config(setting: Setting, world: str, hamlet1: str, search: str) -> str:
    """hamlet's configuration for a setting. The others are URLs; `search` is this side's own."""
    providers = "\n".join(
        f'  {name}: {{kind: openai_compatible, base_url: "{world}/{name}/v1"}}'
        for name in setting.accounts
    )
    rows = ", ".join(
        f"{{provider: {name}, model: {MODEL}, region: region-{name}}}" for name in setting.accounts
    )
    return CONFIG.format(
        providers=providers,
        deployments=rows,
        world=world,
        search=search,
        more=(_TWO_SEARCHES.format(search=search) if setting.two_searches else "")
        + ("" if setting.cache else _NO_CACHE),
        hamlet1=hamlet1,
        features=", ".join(f"{name}: {{paths: [{path}]}}" for name, path in FEATURES.items()),
    )


def counted(url: str) -> dict[str, float]:
    """hamlet's own counters of attempts, hedges, searches and tiers of suggestions, by series."""
    with urllib.request.urlopen(f"{url}/metrics", timeout=10) as answer:  # noqa: S310
        rows = answer.read().decode().splitlines()
    wanted = (
        "hamlet_attempts_total",
        "hamlet_reattempts_total",
        "hamlet_suggest_answers_total",
        "hamlet_web_searches_total",
    )
    found = (row.rpartition(" ") for row in rows if row.startswith(wanted))
    return {name: float(value) for name, _, value in found if float(value)}
