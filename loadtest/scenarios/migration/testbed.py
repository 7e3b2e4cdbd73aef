"""The programs of the migration run, and the operator's commands."""

from __future__ import annotations

import asyncio
import json
import signal
import sys
import tempfile
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import aiohttp
from typer.testing import CliRunner

from hamlet.cli import app
from hamlet.config import load
from hamlet.migration.config_check import resolve_config
from hamlet.migration.edge import render_envoy, render_nginx
from hamlet.migration.file_store import FileStore
from loadtest import ROOT
from loadtest.engine.processes import free_port
from loadtest.engine.programs import RestartableProgram, find_program
from loadtest.engine.vendor import FakeVendor
from loadtest.engine.waiting import wait_until, wait_until_ok

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


class RunFailed(Exception):
    """An expectation of the run does not hold."""


@dataclass
class MigrationTestbed:
    """The running programs, and the commands and state of the rollout."""

    folder: Path
    ports: dict[str, int]
    vendor: FakeVendor
    programs: dict[str, RestartableProgram]
    edge: str
    in_process_cli: bool

    @property
    def config(self) -> Path:
        return self.folder / "hamlet.yaml"

    async def run_command(self, *arguments: str, status: int | None = 0) -> tuple[int, str]:
        """Run `hamlet cutover ...`. Raises RunFailed if the exit status is not `status`."""
        command = ("cutover", *arguments, "--config", str(self.config))
        code, output = await (
            _run_in_process(command) if self.in_process_cli else _run_in_subprocess(command)
        )
        if status is not None and code != status:
            raise RunFailed(f"{' '.join(arguments)}: status {code}, not {status}: {output}")
        await self.update_edge()
        return code, output

    async def update_edge(self) -> None:
        """Give nginx its new configuration and a signal; Envoy watches its runtime file by itself."""
        if self.edge != "nginx":
            return
        text = await asyncio.to_thread(self._edge_config, "nginx")
        file = self.folder / "edge.conf"
        if file.exists() and _without_epoch(file.read_text()) == _without_epoch(text):
            return
        file.write_text(text)
        process = self.programs["edge"].process
        if process is not None:
            process.send_signal(signal.SIGHUP)

    def _edge_config(self, edge_kind: str) -> str:
        config = resolve_config(load(self.config))
        document = FileStore(config.state).read()
        return (
            render_nginx(config, document)
            if edge_kind == "nginx"
            else render_envoy(config, document, self.ports["admin"])
        )

    def feature_state(self, feature: str) -> dict[str, object]:
        """A feature's state as stored."""
        state: dict[str, object] = json.loads((self.folder / "state.json").read_text())["features"][
            feature
        ]
        return state

    def journal_entries(self, feature: str) -> list[str]:
        lines = (self.folder / "state.journal.jsonl").read_text().splitlines()
        entries = [json.loads(line) for line in lines]
        return [f"{e['after']} by {e['cause']}" for e in entries if e["feature"] == feature]

    async def wait_until_new_arm_works(self) -> None:
        """Wait until both replicas call the vendor again after its failures."""
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

    async def wait_until_healthy(self) -> None:
        """Wait until both replicas are ready and Envoy has noticed."""
        for name in ("one", "two"):
            await wait_until_ok(f"http://127.0.0.1:{self.ports[name]}/readyz")
        await asyncio.sleep(1.2)


async def _run_in_subprocess(command: tuple[str, ...]) -> tuple[int, str]:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "hamlet", *command),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    output = (await process.communicate())[0].decode()
    return process.returncode or 0, output


async def _run_in_process(command: tuple[str, ...]) -> tuple[int, str]:
    """Run the command without the second that a new process takes."""
    done = await asyncio.to_thread(CliRunner().invoke, app, command)
    return done.exit_code, done.output


async def wait_for(
    predicate: Callable[[], bool], description: str, within_s: float = 20.0
) -> float:
    """Wait for a condition; the seconds it took. Raises RunFailed with the description."""
    try:
        return await wait_until(predicate, within_s, interval_s=0.02)
    except TimeoutError:
        raise RunFailed(f"not within {within_s:g} s: {description}") from None


@asynccontextmanager
async def start_testbed(
    edge: str, gate: int, in_process_cli: bool
) -> AsyncIterator[MigrationTestbed]:
    """Start every program, with all features served by hamlet1, and stop them at the end."""
    names = ("hamlet1", "one", "two", "edge", "admin", "prometheus")
    ports = {name: free_port() for name in names}
    vendor = FakeVendor()
    with tempfile.TemporaryDirectory(prefix="hamlet-cutover-") as name:
        folder = Path(name)
        async with vendor.upstream as upstream:
            text = CONFIG.format(vendor=upstream.url, gate=gate, **ports)
            (folder / "hamlet.yaml").write_text(text)
            (folder / "prometheus.yml").write_text(SCRAPE.format(**ports))
            (folder / "nginx.conf").write_text(NGINX.format(folder=folder))
            programs = _programs(folder, ports, edge, f"{upstream.url}/v1")
            testbed = MigrationTestbed(folder, ports, vendor, programs, edge, in_process_cli)
            await testbed.run_command("init")
            (folder / "envoy.yaml").write_text(testbed._edge_config("envoy"))
            try:
                for started in programs.values():
                    await started.start()
                await testbed.wait_until_healthy()
                await wait_until_ok(f"http://127.0.0.1:{ports['hamlet1']}/health")
                await wait_until_ok(f"http://127.0.0.1:{ports['prometheus']}/-/ready")
                await wait_until_ok(f"http://127.0.0.1:{ports['edge']}/health")
                yield testbed
            finally:
                await asyncio.gather(*(p.stop(signal.SIGKILL) for p in programs.values()))


def _programs(
    folder: Path, ports: dict[str, int], edge: str, vendor: str
) -> dict[str, RestartableProgram]:
    def log(name: str) -> Path:
        return folder / f"{name}.log"

    def hamlet(name: str) -> RestartableProgram:
        words = ("-m", "hamlet", "serve", "--port", str(ports[name]))
        config = ("--config", str(folder / "hamlet.yaml"))
        return RestartableProgram((sys.executable, *words, *config), log(name))

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
        "hamlet1": RestartableProgram((find_program("node"), server), log("hamlet1"), node),
        "one": hamlet("one"),
        "two": hamlet("two"),
        "prometheus": RestartableProgram(
            (find_program("prometheus"), *data, listen), log("prometheus")
        ),
        "edge": RestartableProgram((find_program(edge), *edges[edge], *quiet), log("edge")),
    }


def _without_epoch(text: str) -> str:
    return "\n".join(line for line in text.splitlines() if "epoch" not in line)
