"""The compose file is valid and agrees with the files that it mounts."""

import math
import os
import subprocess
from pathlib import Path

import pytest
import yaml

from hamlet.config import loads
from hamlet.registry import build_registry
from hamlet.simulator.configuration import simulated_deployments
from hamlet.testing.support import SilentLog
from loadtest.tools.compose import COMPOSE, render_config
from loadtest.tools.demo_stack import ComposeStack
from support.helm_chart import ROOT, find_tool

FILE = COMPOSE / "compose.yaml"
SERVICES = yaml.safe_load(FILE.read_text())["services"]


def validate_compose(file: Path) -> subprocess.CompletedProcess[str]:
    words = [find_tool("docker-compose"), "-f", str(file), "config", "--quiet"]
    env = {"PATH": os.environ["PATH"], "HOME": "/nonexistent"}
    return subprocess.run(words, capture_output=True, text=True, timeout=60, env=env)


def test_compose_accepts_valid_and_rejects_invalid_files() -> None:
    ran = validate_compose(FILE)
    assert ran.returncode == 0, ran.stderr


def test_unknown_compose_condition_is_found(tmp_path: Path) -> None:
    """The check can fail."""
    broken = FILE.read_text().replace("service_healthy", "service_happy")
    (tmp_path / "compose.yaml").write_text(broken)
    ran = validate_compose(tmp_path / "compose.yaml")
    assert ran.returncode != 0
    assert "condition" in ran.stderr


def test_compose_runs_the_example_fleet_with_simulated_vendors(monkeypatch) -> None:
    assert (COMPOSE / "hamlet.yaml").read_text() == render_config(), "make rendered"
    for name in SERVICES["hamlet"]["environment"]:
        monkeypatch.setenv(name, "redis://redis:6379/0" if name == "REDIS_URL" else "sk-0123456789")
    loaded = loads(render_config())
    assert set(build_registry(loaded, SilentLog()).routes) == {"chat", "chips", "chat-eu"}
    assert sum(spec.kind == "ptu" for spec in simulated_deployments(loaded.config)) == 27
    # No real vendor is called.
    urls = [row.settings["base_url"] for row in loaded.config.providers.values()]
    assert all(url.startswith("http://simulator:8900/") for url in urls)


def test_stop_grace_period_exceeds_drain() -> None:
    server = loads(render_config()).config.server
    wait = int(SERVICES["hamlet"]["stop_grace_period"].removesuffix("s"))
    assert wait > math.ceil(server.drain_delay_s + server.drain_s)


def test_only_loopback_is_published() -> None:
    for name, service in SERVICES.items():
        for port in service.get("ports", ()):
            assert port.startswith("127.0.0.1:"), name


def test_hamlet_runs_without_privileges() -> None:
    for name in ("hamlet", "simulator"):
        service = SERVICES[name]
        assert service["read_only"] is True
        assert service["cap_drop"] == ["ALL"]
        assert service["security_opt"] == ["no-new-privileges:true"]


def test_every_service_but_grafana_runs_without_docker_too(tmp_path: Path) -> None:
    """`make demo-fleet` starts every service and finds the ports in the files."""
    stack = ComposeStack(FILE, tmp_path)
    for name in SERVICES.keys() - {"grafana"}:
        assert name in str(stack)


FLEETS = sorted(path.name for path in (ROOT / "deploy/fleets").glob("*.yaml"))


def test_example_fleet_exists_for_each_size() -> None:
    assert FLEETS == ["azure-27-ptu.yaml", "local-vllm.yaml", "one-vendor.yaml"]


@pytest.mark.parametrize("name", FLEETS)
def test_example_fleet_configuration_is_valid(name: str, monkeypatch, capsys) -> None:
    from hamlet.cli.config import check

    file = ROOT / "deploy/fleets" / name
    words = file.read_text().replace(",", " ").replace("}", " ").split()
    for word in words:
        if word.startswith("env:"):
            monkeypatch.setenv(word.removeprefix("env:"), "sk-example-0123456789")
    check(file)
    assert "ok (" in capsys.readouterr().out
