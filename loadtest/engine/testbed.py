"""hamlet in front of simulated vendors, each a process of its own, for runs without a target."""

from __future__ import annotations

import json
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import yaml

from loadtest.engine.open_loop import LoadTarget
from loadtest.engine.processes import Process, free_port, wait_until_ready
from loadtest.engine.scenario import Scenario, Size

KEY = "sk-bench-1234567890"
CONFIG = """
keys: [{name: load, secret: env:LOAD_KEY, rate: 10000000/min}]
providers:
  one: {kind: openai, base_url: "http://127.0.0.1:9/v1"}
  two: {kind: openai, base_url: "http://127.0.0.1:9/v1"}
  three: {kind: openai, base_url: "http://127.0.0.1:9/v1"}
routes:
  model: {deployments: [{provider: one, model: gpt-4o}, {provider: two, model: gpt-4o}, {provider: three, model: gpt-4o}]}
"""
# The first requests are sent this much after the faults are injected.
_FAULT_OFFSET_S = 0.3
# (time to first token, gap between tokens) in seconds of each vendor; by whether the scenario is `instant`.
_LATENCIES = {False: [(0.12, 0.004), (0.18, 0.006), (0.25, 0.005)], True: [(0.001, 0.0)]}


@dataclass(frozen=True, slots=True)
class GatewayTestbed:
    """A target with its process id, and its upstream for direct requests."""

    target: LoadTarget
    direct: LoadTarget
    pid: int


@contextmanager
def start_testbed(scenario: Scenario, size: Size, folder: Path) -> Iterator[GatewayTestbed]:
    """Start the vendors with the scenario's faults and hamlet in front of them; stop both at the end."""
    vendors: Process | None = None
    hamlet: Process | None = None
    written = folder / "pointed.yaml"
    try:
        hamlet_port, command = free_port(), [sys.executable, "-m"]
        vendors = Process(
            [
                *command,
                "hamlet.testing.simulator",
                *_simulator_arguments(scenario, folder, written),
            ],
            log=folder / "vendors.log",
        )
        _wait_until_written(written, vendors)
        config = yaml.safe_load(written.read_text())
        config["keys"] = yaml.safe_load(CONFIG)["keys"]
        if scenario.first_content_s:
            config["routes"]["model"]["policy"] = {"first_token_s": scenario.first_content_s}
            for provider in config["providers"].values():
                provider["idle_timeout_s"] = scenario.first_content_s
        file = folder / "hamlet.yaml"
        file.write_text(yaml.safe_dump(config))
        hamlet = Process(
            [*command, "hamlet", "serve", "--port", str(hamlet_port), "--config", str(file)],
            log=folder / "hamlet.log",
            env={"LOAD_KEY": KEY},
        )
        url = f"http://127.0.0.1:{hamlet_port}"
        wait_until_ready(f"{url}/readyz", hamlet, 30)
        direct = str(config["providers"]["two"]["base_url"]).removesuffix("/v1")
        _inject_faults(scenario, size, direct.removesuffix("/two"))
        yield GatewayTestbed(
            LoadTarget("target", url, KEY, "model"),
            LoadTarget("direct", direct, KEY, "gpt-4o"),
            hamlet.pid,
        )
    finally:
        for process in (hamlet, vendors):
            if process is not None:
                process.stop()


def _simulator_arguments(scenario: Scenario, folder: Path, written: Path) -> list[str]:
    config, pace = folder / "stage.yaml", folder / "pace.csv"
    config.write_text(CONFIG.replace("secret: env:LOAD_KEY", f"hash: 'sha256:{'0' * 64}'"))
    rows = [f"x,x,{ttft},{gap},1,1,1" for ttft, gap in _LATENCIES[scenario.instant]]
    head = "provider,model_size,ttft_s,inter_token_s,e2e_s,prompt_tokens,completion_tokens"
    pace.write_text("\n".join([head, *rows]) + "\n")
    return ["--config", str(config), "--write", str(written), "--latency", str(pace)]


def _inject_faults(scenario: Scenario, size: Size, vendors: str) -> None:
    """Inject the faults; their times count from now, when the run begins."""
    length = scenario.length_s(size)
    planned = [
        {
            **fault.model_dump(exclude={"begin", "end"}, exclude_none=True),
            "from_s": fault.begin * length + _FAULT_OFFSET_S,
            "to_s": fault.end * length + _FAULT_OFFSET_S,
        }
        for fault in scenario.faults
    ]
    body = json.dumps(planned).encode()
    request = urllib.request.Request(f"{vendors}/_simulator/faults", body, method="PUT")  # noqa: S310
    with urllib.request.urlopen(request, timeout=10) as answer:  # noqa: S310
        answer.read()


def _wait_until_written(file: Path, process: Process) -> None:
    while process.is_alive and time.monotonic() - process.started < 30:
        if file.exists() and file.read_text().endswith("\n"):
            return
        time.sleep(0.02)
    raise RuntimeError("the simulated vendors did not start")
