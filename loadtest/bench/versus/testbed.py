"""The processes: one simulated world, the stand-in for hamlet1, and hamlet in three settings."""

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

from hamlet.migration.file_store import FileStore
from hamlet.migration.rollout_document import FeatureState, RolloutDocument
from loadtest import ROOT
from loadtest.bench.versus.world import LATENCY_FACTORS, MODEL
from loadtest.engine.open_loop import LoadTarget
from loadtest.engine.processes import Process, free_port, wait_until_ready

SERVER = ROOT / "tests/hamlet1/server.js"
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
# A second search in parallel with the first: the first one to find something wins.
_TWO_SEARCHES = """    other: {{kind: searxng, base_url: "{search}/other"}}
  hedge_after_s: 0
"""
# Shorter than the time between equal queries.
_NO_CACHE = "\n".join(
    f"  {section}_{age}_s: 0.05" for section in ("links", "chips") for age in ("fresh", "stale")
)


@dataclass(frozen=True, slots=True)
class Setting:
    """How one hamlet is configured: its accounts, and the searches and cache of /v1/suggest."""

    name: str
    accounts: tuple[str, ...]
    has_two_searches: bool
    has_cache: bool


HAMLET1 = "hamlet1 (stand-in)"
SETTINGS = (
    Setting("hamlet2, one account, one search, no cache", ("one",), False, False),
    Setting("hamlet2, no cache", tuple(LATENCY_FACTORS), True, False),
    Setting("hamlet2, cache", tuple(LATENCY_FACTORS), True, True),
)


@dataclass(frozen=True, slots=True)
class VersusTestbed:
    """All sides, hamlet1 first, and their processes by name."""

    sides: list[LoadTarget]
    processes: Mapping[str, Process]

    @property
    def pids(self) -> dict[str, int]:
        return {name: process.pid for name, process in self.processes.items()}


@contextmanager
def start_testbed(seed: int, folder: Path) -> Iterator[VersusTestbed]:
    """Start everything, and stop it at the end. Raises RuntimeError if something does not start."""
    node = shutil.which("node")
    if node is None:
        raise RuntimeError("node is not installed, and hamlet1's stand-in needs it")
    started: list[Process] = []
    try:
        world = _start_world(seed, folder, started)
        sides, processes = [], {}
        port = free_port()
        url = f"http://127.0.0.1:{port}"
        env = {
            "UPSTREAM": f"{world}/one/v1",
            "WRITER": f"{world}/writer/v1",
            "SEARCH": f"{world}/0",
        }
        hamlet1 = Process(
            [node, str(SERVER)], log=folder / "node.log", env={**env, "PORT": str(port)}
        )
        started.append(hamlet1)
        wait_until_ready(f"{url}/health", hamlet1, 30)
        sides.append(LoadTarget(HAMLET1, url, "", MODEL))
        processes[HAMLET1] = hamlet1
        for number, setting in enumerate(SETTINGS, 1):
            text = render_config(setting, world, url, f"{world}/{number}")
            hamlet_url, process = _start_hamlet(text, folder / f"hamlet-{number}")
            started.append(process)
            wait_until_ready(f"{hamlet_url}/readyz", process, 60)
            sides.append(LoadTarget(setting.name, hamlet_url, "", MODEL))
            processes[setting.name] = process
        yield VersusTestbed(sides, processes)
    finally:
        for process in reversed(started):
            process.stop()


def _start_world(seed: int, folder: Path, started: list[Process]) -> str:
    log = folder / "world.log"
    command = [sys.executable, "-m", "loadtest.bench.versus.world", str(seed)]
    process = Process(command, log=log)
    started.append(process)
    while process.is_alive and time.monotonic() - process.started < 30:
        if found := re.search(r"http://\S+\n", log.read_text()):
            return found[0].strip()
        time.sleep(0.02)
    raise RuntimeError(f"the simulated world did not start: {log.read_text()[-500:]}")


def _start_hamlet(text: str, folder: Path) -> tuple[str, Process]:
    folder.mkdir()
    file = folder / "hamlet.yaml"
    file.write_text(text)
    new = {name: FeatureState(stage="new") for name in FEATURES}
    FileStore(folder / "state.json").create(RolloutDocument(epoch=1, features=new))
    port = free_port()
    command = [sys.executable, "-m", "hamlet", "serve", "--port", str(port), "--config", str(file)]
    return f"http://127.0.0.1:{port}", Process(command, log=folder / "log")


def render_config(setting: Setting, world: str, hamlet1: str, search: str) -> str:
    """hamlet's configuration for a setting. The other arguments are URLs; each side has a `search` of its own."""
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
        more=(_TWO_SEARCHES.format(search=search) if setting.has_two_searches else "")
        + ("" if setting.has_cache else _NO_CACHE),
        hamlet1=hamlet1,
        features=", ".join(f"{name}: {{paths: [{path}]}}" for name, path in FEATURES.items()),
    )


def fetch_counters(url: str) -> dict[str, float]:
    """hamlet's counters of attempts, hedges, searches and tiers, by series."""
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
