"""Run the services of compose without Docker under traffic, and draw their dashboards: `make demo-fleet`.

    python -m loadtest.tools.demo_stack [SECONDS]

Programs, arguments and mounted files are those of deploy/compose/compose.yaml. What Docker would provide is
replaced: names of services become loopback addresses, paths in containers become local paths. Grafana is
left out; `hamlet dash snapshot` draws the same dashboards.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import random
import re
import shutil
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

import httpx2
import yaml

from hamlet.dashboards.build import DASHBOARDS
from hamlet.dashboards.prometheus_query import TimeRange
from hamlet.dashboards.snapshot import render_page
from hamlet.simulator import marker
from loadtest import ROOT
from loadtest.engine.processes import Process, free_port, wait_until_ready
from loadtest.tools.compose import COMPOSE
from loadtest.tools.dashboard_pictures import picture_height_px, take_screenshot

RATE_PER_S, SCRAPE_S = 6.0, 15.0
_BOARDS = ("hamlet-overview", "hamlet-fleet", "hamlet-model-calls")
# The entry point of each image, and the options that set its addresses.
_PROGRAMS: dict[str, tuple[tuple[str, ...], tuple[tuple[str, int], ...]]] = {
    "hamlet": ((sys.executable, "-m", "hamlet"), (("--port={}", 8080),)),
    "simulator": ((), ()),
    "redis": ((), (("--port {}", 6379),)),
    "prometheus": (("prometheus",), (("--web.listen-address=127.0.0.1:{}", 9090),)),
    "alertmanager": (
        ("prometheus-alertmanager", "--cluster.listen-address="),
        (("--web.listen-address=127.0.0.1:{}", 9093),),
    ),
    "node-exporter": (
        ("prometheus-node-exporter", "--no-collector.systemd"),
        (("--web.listen-address=127.0.0.1:{}", 9100),),
    ),
}
_PORTS = {"hamlet": (8080, 9090), "simulator": (8900,)}


class ComposeStack:
    """The services of a compose file as processes of this machine, in `folder`."""

    def __init__(self, file: Path, folder: Path) -> None:
        self.folder = folder
        self.services: dict[str, Any] = yaml.safe_load(file.read_text())["services"]
        self._base = file.parent
        self._running: list[Process] = []
        self._ports: dict[tuple[str, int], int] = {}
        for name, (_, listens) in _PROGRAMS.items():
            for port in _PORTS.get(name, tuple(port for _, port in listens)):
                self._ports[name, port] = free_port()

    def url(self, service: str, port: int) -> str:
        """The URL of a service's port."""
        return f"http://127.0.0.1:{self._ports[service, port]}"

    def __str__(self) -> str:
        return "; ".join(f"{name} {self.url(name, port)}" for name, port in self._ports)

    def start(self, name: str) -> Process:
        """Start one service."""
        service, folder = self.services[name], self.folder / name
        folder.mkdir()
        mounts = [self._copy_mount(mount, folder) for mount in service.get("volumes", ())]
        first, listens = _PROGRAMS[name]
        words = [*(service.get("entrypoint") or first), *service["command"]]
        words += [option.format(self._ports[name, port]) for option, port in listens]
        command = [
            self._rewrite_for_loopback(word, mounts) for text in words for word in text.split(" ")
        ]
        command[0] = sys.executable if command[0] == "python3" else command[0]
        if shutil.which(command[0]) is None:
            raise SystemExit(f"{command[0]} is not installed: deploy/test-servers.sh")
        env = {
            k: self._rewrite_for_loopback(_default_value(str(v)), [])
            for k, v in service.get("environment", {}).items()
        }
        process = Process(command, log=folder / "log", env=env, cwd=folder)
        self._running.append(process)
        return process

    def stop(self) -> None:
        """Stop every service, the last one first."""
        for process in reversed(self._running):
            process.stop()

    def _copy_mount(self, mount: str, folder: Path) -> tuple[str, str]:
        """(path in the container, local path); files are copied with names replaced by addresses."""
        source, target, *_ = mount.split(":")
        if source == "/":
            return target, "/"
        copy_root = folder / "mounted" / target.strip("/")
        if not source.startswith("."):
            copy_root.mkdir(parents=True)
            return target, str(copy_root)
        origin = (self._base / source).resolve()
        for file in [origin] if origin.is_file() else origin.rglob("*"):
            if file.is_file():
                target_file = copy_root / file.relative_to(origin) if origin.is_dir() else copy_root
                target_file.parent.mkdir(parents=True, exist_ok=True)
                target_file.write_text(self._rewrite_for_loopback(file.read_text(), []))
        return target, str(copy_root)

    def _rewrite_for_loopback(self, text: str, mounts: list[tuple[str, str]]) -> str:
        for target, there in sorted(mounts, key=lambda place: -len(place[0])):
            text = re.sub(rf"(^|=){re.escape(target)}(?=/|$)", rf"\g<1>{there}", text)
        for (name, port), local_port in self._ports.items():
            text = re.sub(rf"(?<![\w-]){name}:{port}\b", f"127.0.0.1:{local_port}", text)
        # A container listens on all addresses of its network; here loopback is enough.
        text = text.replace("0.0.0.0", "127.0.0.1")  # noqa: S104
        text = re.sub(r"admin_port: \d+", f"admin_port: {self._ports['hamlet', 9090]}", text)
        return str(self._ports["simulator", 8900]) if text == "8900" else text


def _default_value(value: str) -> str:
    """`${NAME:-value}` as Docker would read it without NAME."""
    return re.sub(r"\$\{\w+:-([^}]*)\}", r"\1", value)


async def send_traffic(stack: ComposeStack, seconds: float) -> Counter[int]:
    """Poisson calls at RATE_PER_S, a third of them not streamed; the number of each status."""
    key = _default_value(stack.services["hamlet"]["environment"]["BACKEND_KEY"])
    rng, statuses = random.Random(7), Counter[int]()
    limits = httpx2.Limits(max_connections=None, max_keepalive_connections=100)
    async with httpx2.AsyncClient(
        base_url=stack.url("hamlet", 8080),
        headers={"authorization": f"Bearer {key}"},
        timeout=60,
        limits=limits,
    ) as http:

        async def call() -> None:
            model = rng.choice(("chat", "chat", "chat", "chat-eu", "chips"))
            # Chips are short and time out after three seconds.
            output = rng.randint(15, 50) if model == "chips" else rng.randint(40, 300)
            turns = [{"role": "user", "content": marker(rng.randint(300, 3000), output)}]
            body = {"model": model, "messages": turns, "max_tokens": 400}
            body["stream"] = rng.random() < 0.67
            try:
                statuses[(await http.post("/v1/chat/completions", json=body)).status_code] += 1
            except httpx2.HTTPError:
                statuses[0] += 1

        begin = time.monotonic()
        async with asyncio.TaskGroup() as group:
            while time.monotonic() - begin < seconds:
                group.create_task(call())
                await asyncio.sleep(rng.expovariate(RATE_PER_S))
    return statuses


def _inject_faults(stack: ComposeStack, seconds: float) -> None:
    """One region is down and another slow in the middle third."""
    span = {"from_s": seconds / 3, "to_s": seconds * 2 / 3}
    faults = [
        {"kind": "status", "status": 503, "at": ["japaneast"], **span},
        {"kind": "slow", "factor": 4.0, "at": ["swedencentral"], **span},
    ]
    url = stack.url("simulator", 8900) + "/_simulator/faults"
    httpx2.put(url, content=json.dumps(faults)).raise_for_status()


def main(seconds: float, out: Path) -> None:
    """Start the services, send traffic, draw the dashboards, stop."""
    with tempfile.TemporaryDirectory() as name:
        stack = ComposeStack(COMPOSE / "compose.yaml", Path(name))
        try:
            stack.start("redis")
            simulator = stack.start("simulator")
            wait_until_ready(stack.url("simulator", 8900) + "/_simulator/state", simulator, 60)
            hamlet = stack.start("hamlet")
            stack.start("alertmanager")
            stack.start("node-exporter")
            prometheus = stack.start("prometheus")
            wait_until_ready(stack.url("hamlet", 8080) + "/readyz", hamlet, 60)
            wait_until_ready(stack.url("prometheus", 9090) + "/-/ready", prometheus, 60)
            print(stack, flush=True)
            _inject_faults(stack, seconds)
            begun = time.time()
            statuses = asyncio.run(send_traffic(stack, seconds))
            with httpx2.Client(base_url=stack.url("prometheus", 9090), timeout=60) as http:
                _draw_dashboards(http, begun, Path(name), out)
                time.sleep(SCRAPE_S)
                _print_summary(http, statuses)
        except RuntimeError as error:
            logs = [p.read_text()[-1500:] for p in Path(name).glob("*/log")]
            raise SystemExit("\n".join([str(error), *logs])) from None
        finally:
            stack.stop()


def _print_summary(http: httpx2.Client, statuses: Counter[int]) -> None:
    def query(expr: str) -> list[Any]:
        body = http.get("/api/v1/query", params={"query": expr}).json()
        return list(body["data"]["result"])

    print(f"statuses: {dict(statuses)}")
    for expr in (
        'count(up == 1)', 'count(hamlet_deployment_ptu)', 'sum by (outcome) (hamlet_requests_total)',
        'sum by (result) (hamlet_attempts_total)', 'ALERTS{alertstate="firing"}',
    ):  # fmt: skip
        rows = [f"{row['metric']} {row['value'][1]}" for row in query(expr)]
        print(f"{expr}: {'; '.join(rows)}")


def _draw_dashboards(http: httpx2.Client, begun: float, folder: Path, out: Path) -> None:
    out.mkdir(parents=True, exist_ok=True)
    for board in DASHBOARDS:
        if board.uid in _BOARDS:
            html = folder / f"{board.uid}.html"
            html.write_text(
                render_page([board.to_json()], http, TimeRange(begun, time.time(), SCRAPE_S))
            )
            take_screenshot(
                html, out / f"demo-{board.uid}.png", picture_height_px(board.to_json()["panels"])
            )
            print(out / f"demo-{board.uid}.png")


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        main(float(sys.argv[1]) if len(sys.argv) > 1 else 300.0, ROOT / "docs/pictures")
