"""What runs in the cutover's end-to-end run, and how an operator's commands are typed."""

from __future__ import annotations

import asyncio
import json
import signal
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import aiohttp
from typer.testing import CliRunner

from hamlet.cli import app
from hamlet.config import load
from hamlet.migration import FileStore, settings
from hamlet.migration.edge import envoy, nginx
from loadtest.cutover_parts import ROOT, Program, Vendor, answers, program
from loadtest.proc import free_port

CONFIG = """
server: {{drain_delay_s: 1.5, drain_s: 20}}
providers: {{vendor: {{kind: openai_compatible, base_url: "{vendor}/v1"}}}}
routes: {{chat: {{deployments: [{{provider: vendor, model: new-model}}], policy: {{attempts: 1}}}}}}
cutover:
  legacy_url: http://127.0.0.1:{hamlet1}
  state: state.json
  chat_route: chat
  features:
    chat: {{paths: [/api/chat]}}
    related_links: {{paths: [/api/related], content: "off"}}
    chips: {{paths: [/api/chips], content: "off"}}
  shadow: {{noise_percent: 20, concurrent: 8, per_minute: 2000}}
  gate: {{minutes: 0, requests: {gate}, comparisons: {gate}}}
  replicas: ["http://127.0.0.1:{one}", "http://127.0.0.1:{two}"]
  prometheus: http://127.0.0.1:{prometheus}
  edge:
    listen: 127.0.0.1:{edge}
    hamlet1: 127.0.0.1:{hamlet1}
    hamlet2: ["127.0.0.1:{one}", "127.0.0.1:{two}"]
    runtime: runtime.json
"""
SCRAPE = """
global: {{scrape_interval: 1s}}
scrape_configs:
  - {{job_name: hamlet, static_configs: [{{targets: ["127.0.0.1:{one}", "127.0.0.1:{two}"]}}]}}
"""
NGINX = """
daemon off; pid {folder}/nginx.pid; error_log stderr error; worker_processes 1;
events {{ worker_connections 1024; }}
http {{ access_log off; client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy;
  fastcgi_temp_path {folder}/f; uwsgi_temp_path {folder}/u; scgi_temp_path {folder}/s;
  include {folder}/edge.conf; }}
"""


class Failed(Exception):
    """The run is not what it must be."""


@dataclass
class Stage:
    """Everything that runs, and what is done with it."""

    folder: Path
    ports: dict[str, int]
    vendor: Vendor
    programs: dict[str, Program]
    edge: str
    short: bool

    @property
    def config(self) -> Path:
        return self.folder / "hamlet.yaml"

    async def cutover(self, *words: str, status: int | None = 0) -> tuple[int, str]:
        """Type a command; Failed if its exit status is another one."""
        typed = ("cutover", *words, "--config", str(self.config))
        code, told = await (_here(typed) if self.short else _typed(typed))
        if status is not None and code != status:
            raise Failed(f"{' '.join(words)}: status {code}, not {status}: {told}")
        await self.edge_follows()
        return code, told

    async def edge_follows(self) -> None:
        """Envoy reads the runtime file by itself; nginx is given its file and a signal."""
        if self.edge != "nginx":
            return
        text = await asyncio.to_thread(self._exported, "nginx")
        file = self.folder / "edge.conf"
        if file.exists() and _without_epoch(file.read_text()) == _without_epoch(text):
            return
        file.write_text(text)
        process = self.programs["edge"].process
        if process is not None:
            process.send_signal(signal.SIGHUP)

    def _exported(self, form: str) -> str:
        config = settings(load(self.config))
        document = FileStore(config.state).read()
        return (
            nginx(config, document)
            if form == "nginx"
            else envoy(config, document, self.ports["admin"])
        )

    def stands(self, feature: str) -> dict[str, object]:
        """A feature's state as it is written."""
        state: dict[str, object] = json.loads((self.folder / "state.json").read_text())["features"][
            feature
        ]
        return state

    def journal(self, feature: str) -> list[str]:
        lines = (self.folder / "state.journal.jsonl").read_text().splitlines()
        entries = [json.loads(line) for line in lines]
        return [f"{e['after']} by {e['cause']}" for e in entries if e["feature"] == feature]

    async def new_arm_works(self) -> None:
        """Neither hamlet leaves the vendor alone any more because of its failures."""
        body = {"model": "chat", "messages": [{"role": "user", "content": "Are you there?"}]}
        async with aiohttp.ClientSession() as http:
            for name in ("one", "two"):
                url = f"http://127.0.0.1:{self.ports[name]}/v1/chat/completions"
                async with asyncio.timeout(60):
                    while True:
                        async with http.post(url, json=body) as answer:
                            if answer.status == 200:
                                break
                        await asyncio.sleep(0.1)

    async def healthy(self) -> None:
        """Both hamlets are ready, and Envoy has noticed."""
        for name in ("one", "two"):
            await answers(f"http://127.0.0.1:{self.ports[name]}/readyz")
        await asyncio.sleep(1.2)


async def _typed(words: tuple[str, ...]) -> tuple[int, str]:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "hamlet", *words),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    told = (await process.communicate())[0].decode()
    return process.returncode or 0, told


async def _here(words: tuple[str, ...]) -> tuple[int, str]:
    """The same command without the second that a new process costs."""
    done = await asyncio.to_thread(CliRunner().invoke, app, words)
    return done.exit_code, done.output


async def until(holds: Callable[[], bool], what: str, within_s: float = 20.0) -> float:
    """Wait for something; the seconds it took. Failed if it does not come."""
    begin = time.monotonic()
    while not holds():
        if time.monotonic() - begin > within_s:
            raise Failed(f"not within {within_s:g} s: {what}")
        await asyncio.sleep(0.02)
    return time.monotonic() - begin


@asynccontextmanager
async def stage(edge: str, gate: int, short: bool) -> AsyncIterator[Stage]:
    """Everything started and well, all features at hamlet1."""
    names = ("hamlet1", "one", "two", "edge", "admin", "prometheus")
    ports = {name: free_port() for name in names}
    vendor = Vendor()
    with tempfile.TemporaryDirectory(prefix="hamlet-cutover-") as name:
        folder = Path(name)
        async with vendor.upstream as upstream:
            text = CONFIG.format(vendor=upstream.url, gate=gate, **ports)
            (folder / "hamlet.yaml").write_text(text)
            (folder / "prometheus.yml").write_text(SCRAPE.format(**ports))
            (folder / "nginx.conf").write_text(NGINX.format(folder=folder))
            programs = _programs(folder, ports, edge, f"{upstream.url}/v1")
            made = Stage(folder, ports, vendor, programs, edge, short)
            await made.cutover("init")
            (folder / "envoy.yaml").write_text(made._exported("envoy"))
            try:
                for started in programs.values():
                    await started.start()
                await made.healthy()
                await answers(f"http://127.0.0.1:{ports['hamlet1']}/health")
                await answers(f"http://127.0.0.1:{ports['prometheus']}/-/ready")
                await answers(f"http://127.0.0.1:{ports['edge']}/health")
                yield made
            finally:
                await asyncio.gather(*(p.stop(signal.SIGKILL) for p in programs.values()))


def _programs(folder: Path, ports: dict[str, int], edge: str, vendor: str) -> dict[str, Program]:
    def log(name: str) -> Path:
        return folder / f"{name}.log"

    def hamlet(name: str) -> Program:
        words = ("-m", "hamlet", "serve", "--port", str(ports[name]))
        config = ("--config", str(folder / "hamlet.yaml"))
        return Program((sys.executable, *words, *config), log(name))

    node = {"UPSTREAM": vendor, "PORT": str(ports["hamlet1"])}
    edges = {
        "envoy": ("-c", str(folder / "envoy.yaml"), "--concurrency", "1", "--disable-hot-restart"),
        "nginx": ("-p", str(folder), "-c", str(folder / "nginx.conf")),
    }
    quiet = ("--log-level", "error") if edge == "envoy" else ()
    listen = f"--web.listen-address=127.0.0.1:{ports['prometheus']}"
    data = (f"--config.file={folder}/prometheus.yml", f"--storage.tsdb.path={folder}/data")
    server = str(ROOT / "tests/hamlet1/server.js")
    return {
        "hamlet1": Program((program("node"), server), log("hamlet1"), node),
        "one": hamlet("one"),
        "two": hamlet("two"),
        "prometheus": Program((program("prometheus"), *data, listen), log("prometheus")),
        "edge": Program((program(edge), *edges[edge], *quiet), log("edge")),
    }


def _without_epoch(text: str) -> str:
    return "\n".join(line for line in text.splitlines() if "epoch" not in line)
