"""`hamlet fleet explain` and `top`: what operators see of a fleet."""

import asyncio
import re
import sys
from pathlib import Path

import httpx2
import pytest

from hamlet.config import load
from hamlet.registry import ReservedThroughput, build_registry
from hamlet.testing.support import SilentLog
from support.paths import ROOT
from support.server import environment, run_server

FLEETS = ROOT / "deploy/fleets"
SECRET = "sk-example-0123456789"
CONFIG = """
fleet: {home: koreacentral, probe: "off"}
keys: [{name: operator, secret: env:TEST_OPERATOR, admin: true}]
providers: {e: {kind: embedded}, f: {kind: embedded}, g: {kind: embedded}}
routes:
  chat:
    tiering: fleet
    residency: [koreacentral, japaneast]
    deployments:
      - {provider: f, model: embedded-chat, region: japaneast, tpm: 60000, rpm: 100}
      - {provider: e, model: embedded-chat, region: koreacentral, ptu: 25}
      - {provider: g, model: embedded-chat, region: eastus, ptu: 25}
"""


async def run(*args: str, key: str = SECRET) -> tuple[int, str, str]:
    env = {"HAMLET_ADMIN_KEY": key, "PATH": "/usr/bin:/bin", "COLUMNS": "200"}
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "hamlet", "fleet", *args,
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE, env=env,
    )  # fmt: skip
    out, err = await process.communicate()
    return process.returncode or 0, out.decode(), err.decode()


@pytest.fixture
async def running():
    async with environment({"TEST_OPERATOR": SECRET}), run_server(CONFIG) as running:
        yield running


async def test_explain_shows_plan_and_rejected_deployments(running) -> None:
    load_balancer = running.hamlet.gateway.load_balancer
    code, out, _ = await run("explain", "chat", "--url", running.url)
    assert code == 0
    rows = {line.split()[1]: line for line in out.splitlines() if re.match(r"\d ", line)}
    assert re.search(
        r"^1 +e/embedded-chat +koreacentral +25 PTU .* 100% +in *$", rows["e/embedded-chat"]
    )
    assert re.search(r"60000 TPM 100 RPM .* in *$", rows["f/embedded-chat"])
    assert "outside the route's residency" in rows["g/embedded-chat"]
    load_balancer.deployment_states["e/embedded-chat"].cool_down(60.0, load_balancer.clock())
    code, out, _ = await run("explain", "chat", "--url", running.url, "--no-stream")
    assert re.search(r"e/embedded-chat .* \d\d\.\d s .*cooling down", out)
    assert re.search(r"f/embedded-chat .* 100% +in", out)


async def test_explain_reports_full_and_tripped_deployments(running) -> None:
    load_balancer = running.hamlet.gateway.load_balancer
    route = running.hamlet.registries.current.routes["chat"]
    load_balancer.route_state(route)
    load_balancer.deployment_states["e/embedded-chat"].capacity_model.reserve(
        1e6, load_balancer.clock()
    )
    state = load_balancer.deployment_states["f/embedded-chat"]
    state.breaker.open("config", load_balancer.clock(), 300.0)
    state.slowness.observe(4.0, load_balancer.clock())
    load_balancer._mark_changed(state)
    code, out, _ = await run("top", "--looks", "1", "--url", running.url)
    assert code == 0
    assert re.search(r"e/embedded-chat .*█+ \d+% .* full", out)
    assert re.search(r"f/embedded-chat .* [34]\.\dx .* open \d+ s +breaker open \(config\)", out)


async def test_explain_requires_admin_key_and_existing_route(running, tmp_path: Path) -> None:
    code, _, err = await run("explain", "chat", "--url", running.url, key="")
    assert (code, "an API key is needed" in err) == (2, True)
    code, _, err = await run("explain", "chta", "--url", running.url)
    assert (code, "no such chat route: chta" in err) == (2, True)
    file = tmp_path / "key"
    code, _, err = await run("top", "--key-file", str(file), "--url", running.url)
    assert (code, "cannot be read" in err) == (2, True)
    file.write_text(SECRET + "\n")
    code, _, _ = await run(
        "top", "--looks", "1", "--key-file", str(file), "--url", running.url, key="wrong"
    )
    assert code == 0
    code, _, err = await run("top", "--url", "http://127.0.0.1:9")
    assert (code, "no hamlet answers" in err) == (2, True)


async def test_explain_json_output(running) -> None:
    async with httpx2.AsyncClient(base_url=running.url) as http:
        http.headers["authorization"] = f"Bearer {SECRET}"
        routes = (await http.get("/v1/admin/fleet", params={"output_tokens": 3000})).json()
    first = routes["chat"][0]
    assert first["fill_with"] == pytest.approx((1000 + 3 * 3000) / 31_250, rel=0.01)
    assert first["depth_s"] == 30.0


def test_example_fleet_of_27_is_tiered_by_region(monkeypatch) -> None:
    file = FLEETS / "azure-27-ptu.yaml"
    for name in re.findall(r"env:(\w+)", file.read_text()):
        monkeypatch.setenv(name, SECRET)
    routes = build_registry(load(file), SilentLog()).routes
    tiers = routes["chat"].tiers
    assert [len(tier) for tier in tiers] == [1, 26, 3, 1]
    assert tiers[0][0].region == "koreacentral"
    reserved = [d for tier in tiers for d in tier if isinstance(d.capacity, ReservedThroughput)]
    assert len(reserved) == 27
    assert routes["chips"].sheddable
    assert routes["chat-eu"].residency == {"eu"}


def test_invalid_fleet_settings_are_refused(monkeypatch) -> None:
    from hamlet.config import ConfigError, loads

    monkeypatch.setenv("TEST_OPERATOR", SECRET)
    for old, new, message in (
        ("[koreacentral, japaneast]", "[koreacentrl]", "did you mean koreacentral"),
        ("tiering: fleet", "tiering: flot", "Input should be 'flat' or 'fleet'"),
        ("ptu: 25}", "ptu: 25, tpm: 5}", "give ptu, or tpm and rpm, not both"),
    ):
        with pytest.raises(ConfigError, match=message):
            build_registry(loads(CONFIG.replace(old, new), "test.yaml"), SilentLog())
