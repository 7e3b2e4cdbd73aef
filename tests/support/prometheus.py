"""Real Prometheus, Alertmanager and node-exporter, on free ports of loopback."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx2
import pytest

from loadtest.engine.processes import free_port
from loadtest.engine.waiting import wait_until_ok
from support.paths import ROOT

REQUIRED_PROGRAMS = ("prometheus", "prometheus-node-exporter", "prometheus-alertmanager")
needs_prometheus = pytest.mark.external(*REQUIRED_PROGRAMS)


@asynccontextmanager
async def run_program(*command: str, folder: Path) -> AsyncIterator[None]:
    """Run a program for the length of a block."""
    with (folder / f"{Path(command[0]).name}.log").open("wb") as log:
        process = await asyncio.create_subprocess_exec(*command, cwd=folder, stdout=log, stderr=log)
        try:
            yield
        finally:
            if process.returncode is None:
                process.terminate()
                await process.wait()


@dataclass
class Prometheus:
    """A running Prometheus, and queries to it."""

    url: str
    http: httpx2.AsyncClient = field(default_factory=lambda: httpx2.AsyncClient(timeout=30))

    async def query(self, expr: str, at: float | None = None) -> dict[str, Any]:
        query = {"query": expr} | ({"time": str(at)} if at else {})
        return (await self.http.get(f"{self.url}/api/v1/query", params=query)).json()

    async def values(self, expr: str) -> list[float]:
        """The values of all series of an instant query. Raises AssertionError if it fails."""
        response = await self.query(expr)
        assert response["status"] == "success", response
        return [float(row["value"][1]) for row in response["data"]["result"]]


@asynccontextmanager
async def run_prometheus(
    folder: Path, targets: dict[str, str], *, alertmanager: str = "", rules_file: str = ""
) -> AsyncIterator[Prometheus]:
    """Scrapes `targets` (address by job) every second, with the project's rules."""
    port = free_port()
    jobs = "".join(
        f"  - job_name: {job}\n    static_configs: [{{targets: ['{address}']}}]\n"
        for job, address in targets.items()
    )
    alerting = (
        f"alerting: {{alertmanagers: [{{static_configs: [{{targets: ['{alertmanager}']}}]}}]}}\n"
        if alertmanager
        else ""
    )
    rules = rules_file or str(ROOT / "deploy/prometheus/rules.yml")
    (folder / "prometheus.yml").write_text(
        "global: {scrape_interval: 1s, evaluation_interval: 1s}\n"
        f"rule_files: ['{rules}']\n{alerting}scrape_configs:\n{jobs}"
    )
    command = (
        "prometheus",
        "--config.file=prometheus.yml",
        f"--web.listen-address=127.0.0.1:{port}",
        "--storage.tsdb.path=data",
        "--enable-feature=exemplar-storage",
    )
    url = f"http://127.0.0.1:{port}"
    async with run_program(*command, folder=folder):
        await wait_until_ok(f"{url}/-/ready")
        made = Prometheus(url)
        try:
            yield made
        finally:
            await made.http.aclose()


@asynccontextmanager
async def run_node_exporter(folder: Path) -> AsyncIterator[str]:
    """Run it; yields its address."""
    address = f"127.0.0.1:{free_port()}"
    options = ("--no-collector.systemd", f"--web.listen-address={address}")
    async with run_program("prometheus-node-exporter", *options, folder=folder):
        await wait_until_ok(f"http://{address}/metrics")
        yield address


@asynccontextmanager
async def run_alertmanager(folder: Path, config: str) -> AsyncIterator[str]:
    """Run it; yields its address."""
    (folder / "alertmanager.yml").write_text(config)
    address = f"127.0.0.1:{free_port()}"
    options = (
        "--config.file=alertmanager.yml",
        f"--web.listen-address={address}",
        "--cluster.listen-address=",
        "--storage.path=alerts",
    )
    async with run_program("prometheus-alertmanager", *options, folder=folder):
        await wait_until_ok(f"http://{address}/-/ready")
        yield address
