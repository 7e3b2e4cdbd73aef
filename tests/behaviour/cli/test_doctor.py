"""`hamlet doctor` against real faults: simulated vendors, sockets, TLS and a Redis server."""

import json
import socket
import sys
import time
from collections.abc import AsyncIterator
from email.utils import formatdate
from pathlib import Path

import pytest
from typer.testing import CliRunner

from hamlet.cli import app
from hamlet.doctor import Finding, examine
from hamlet.doctor.machine import examine_machine
from hamlet.simulator import Fault, Latency, SimulatedDeployment, SimulatorServer
from hamlet.testing import LoopbackUpstream, json_reply
from hamlet.testing.support import SilentLog
from support.raw_upstream import make_certificate, server_tls_context
from support.redis import redis_server
from support.server import environment
from support.simulation import serve_simulation

KEY = "sk-doctor-secret-0123456789"
QUICK = Latency(0.01, 0.1, 0.0005, 0.1)
CONFIG = """
providers:
  oa: {{kind: openai, base_url: "{url}/oa/v1", api_key: env:TEST_DOCTOR_KEY}}
  an: {{kind: anthropic, base_url: "{url}/an", api_key: env:TEST_DOCTOR_KEY}}
  inside: {{kind: embedded}}
routes:
  chat:
    tiers:
      - [{{provider: oa, model: gpt-4o}}]
      - [{{provider: an, model: claude-haiku-4-5}}, {{provider: inside, model: embedded-chat}}]
"""
EMBEDDED_CONFIG = """
providers:
  v: {{kind: openai, base_url: "{url}", api_key: env:TEST_DOCTOR_KEY, connect_timeout_s: 1{more}}}
routes: {{chat: {{deployments: [{{provider: v, model: gpt-4o}}]}}}}
"""


@pytest.fixture
async def key() -> AsyncIterator[None]:
    async with environment({"TEST_DOCTOR_KEY": KEY}):
        yield


@pytest.fixture
async def vendors() -> AsyncIterator[SimulatorServer]:
    oa = SimulatedDeployment("oa", "gpt-4o", "openai", latency=QUICK)
    an = SimulatedDeployment("an", "claude-haiku-4-5", "anthropic", latency=QUICK)
    async with serve_simulation(oa, an) as server:
        yield server


async def run_doctor(tmp_path: Path, config: str, call_timeout_s: float = 20.0) -> list[Finding]:
    """All findings; none of them may show the key."""
    file = tmp_path / "doctor.yaml"
    file.write_text(config)
    findings = await examine(file, SilentLog(), call_timeout_s)
    assert KEY not in repr(findings)
    return findings


async def finding_for(
    tmp_path: Path, config: str, subject: str, call_timeout_s: float = 20.0
) -> Finding:
    findings = await run_doctor(tmp_path, config, call_timeout_s)
    (finding,) = [each for each in findings if each.subject == subject]
    return finding


async def test_healthy_configuration_passes_with_one_call_each(key, vendors, tmp_path) -> None:
    findings = await run_doctor(tmp_path, CONFIG.format(url=vendors.url))
    levels = {each.subject: each.level for each in findings}
    assert levels["oa/gpt-4o"] == levels["an/claude-haiku-4-5"] == "ok"
    assert levels["inside/embedded-chat"] == "skipped"
    assert "failed" not in levels.values()
    state = vendors.world.state()
    assert all(each["requests"] == 1 for each in state.values()), state


@pytest.mark.parametrize(
    ("fault", "level", "message", "advice"),
    [
        (Fault("status", status=401), "failed", "the key is refused", "check env:TEST_DOCTOR_KEY"),
        (Fault("insufficient_quota"), "failed", "credit or quota is used up", "add credit"),
        (
            Fault("status", status=429, retry_after="2"),
            "warning",
            "rate limit is used up",
            "tpm and rpm",
        ),
        (Fault("status", status=503), "warning", "overloaded", "later"),
        (Fault("status", status=500), "failed", "answers with its own errors", "status page"),
        (Fault("dead"), "failed", "breaks off", "status page"),
        (Fault("html"), "failed", "not as this kind of API does", "base_url"),
        (Fault("silent"), "failed", "did not answer in time", "status page"),
        (Fault("content_filter"), "warning", "refuses a minimal call", "real call"),
    ],
    ids=lambda value: value.kind + str(value.status) if isinstance(value, Fault) else "",
)
async def test_vendor_faults_are_reported_with_advice(
    key, vendors, tmp_path, fault: Fault, level: str, message: str, advice: str
) -> None:
    vendors.world.set_faults([fault])
    config = EMBEDDED_CONFIG.format(url=f"{vendors.url}/oa/v1", more="")
    timeout_s = 1.0 if fault.kind == "silent" else 20.0
    finding = await finding_for(tmp_path, config, "v/gpt-4o", timeout_s)
    assert finding.level == level
    assert message in finding.message
    assert advice in finding.advice


async def test_missing_model_is_reported_with_available_models(key, tmp_path) -> None:
    missing = json_reply({"error": {"code": "model_not_found", "message": "no"}}, 404)
    listed = json_reply({"data": [{"id": "gpt-4o-2024"}, {"id": "whisper-1"}]})
    async with LoopbackUpstream() as vendor:
        vendor.respond(lambda request: listed if request.method == "GET" else missing)
        finding = await finding_for(
            tmp_path, EMBEDDED_CONFIG.format(url=vendor.url, more=""), "v/gpt-4o"
        )
    assert (finding.level, finding.message) == ("failed", "the vendor knows no model 'gpt-4o'")
    assert "The account has gpt-4o-2024" in finding.advice


@pytest.mark.slow
async def test_unreachable_vendor_is_diagnosed(key, tmp_path) -> None:
    async def diagnosis(url: str, more: str = "") -> str:
        finding = await finding_for(
            tmp_path, EMBEDDED_CONFIG.format(url=url, more=more), "v/gpt-4o", 2.0
        )
        assert finding.level == "failed"
        assert finding.advice
        return finding.message

    assert (await diagnosis("https://user:hunter2@no-such-name.invalid/v1")).startswith(
        "DNS: the name"
    )
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        port = closed.getsockname()[1]
        assert await diagnosis(f"http://u:hunter2@127.0.0.1:{port}/v1") == (
            f"connect: nobody listens at 127.0.0.1:{port}"
        )
    assert "metadata address" in await diagnosis("http://169.254.169.254/v1")
    private, public = make_certificate(tmp_path)
    async with LoopbackUpstream(tls=server_tls_context(private, public)) as vendor:
        url = vendor.url.replace("127.0.0.1", "localhost")
        assert "not trusted: self-signed certificate" in await diagnosis(f"{url}/v1")
    async with LoopbackUpstream() as plain:
        assert "accepts connections, but no TLS" in await diagnosis(
            plain.url.replace("http:", "https:")
        )
    assert "FileNotFoundError" in await diagnosis("https://127.0.0.1:9/v1", ", ca_file: no.pem")


async def test_unset_key_is_reported_and_other_providers_are_still_checked(
    key, vendors, tmp_path
) -> None:
    text = CONFIG.format(url=vendors.url).replace("env:TEST_DOCTOR_KEY", "env:TEST_NOT_SET", 1)
    findings = await run_doctor(tmp_path, text + "servr: {}\n")
    (unset,) = [each for each in findings if each.check == "key"]
    assert "providers.oa.api_key" in unset.message
    assert unset.advice == "export TEST_NOT_SET=..."
    (typo,) = [each for each in findings if each.check == "config"]
    assert (typo.level, "did you mean server?" in typo.message) == ("failed", True)
    levels = {each.subject: each.level for each in findings}
    assert levels["an/claude-haiku-4-5"] == "ok"
    assert "oa/gpt-4o" not in levels


async def test_startup_errors_are_reported(key, vendors, tmp_path) -> None:
    (tmp_path / "x.manifest.json").write_text("{}")
    text = CONFIG.format(url=vendors.url) + f"suggest: {{packs: {{folder: '{tmp_path}'}}}}\n"
    cutover = "cutover: {legacy_url: 'http://127.0.0.1:1', state: s.json, chat_route: chta, features: {c: {paths: [/api/c]}}}\n"
    findings = await run_doctor(tmp_path, text + cutover)
    problems = [each for each in findings if each.check == "config"]
    assert sorted((each.message.partition(":")[0], each.level) for each in problems) == [
        ("cutover.chat_route", "failed"),
        ("suggest.packs", "failed"),
    ]


@pytest.mark.parametrize(
    ("skew_s", "level", "message"),
    [(0, "ok", "within 5 s"), (60, "warning", "behind"), (-3600, "failed", "ahead of")],
)
async def test_clock_skew_is_measured_from_date_header(
    key, tmp_path, skew_s: float, level: str, message: str
) -> None:
    date = {"date": formatdate(time.time() + skew_s, usegmt=True)}
    async with LoopbackUpstream() as vendor:
        vendor.reply(json_reply({"error": {}}, 401, date))
        finding = await finding_for(
            tmp_path, EMBEDDED_CONFIG.format(url=vendor.url, more=""), "this machine"
        )
    assert (finding.level, message in finding.message) == (level, True), finding


@pytest.mark.external("redis-server")
async def test_redis_problems_are_reported(key, vendors, tmp_path) -> None:
    async def diagnosis(url: str) -> Finding:
        async with environment({"TEST_REDIS": url}):
            return await finding_for(
                tmp_path, CONFIG.format(url=vendors.url) + "fleet: {redis: env:TEST_REDIS}\n",
                "fleet.redis",
            )  # fmt: skip

    async with redis_server(tmp_path) as redis:
        assert (await diagnosis(redis.url)).level == "ok"
        await redis.execute("CONFIG", "SET", "requirepass", "hunter2")
        refused = await diagnosis(f"unix://:guess-hunter@{redis.socket}")
        assert (refused.level, "refuses the password" in refused.message) == ("failed", True)
        assert "guess" not in repr(refused)
        redis.pause()
        assert "does not answer" in (await diagnosis(redis.url)).message
        redis.resume()
    gone = await diagnosis("redis://someone:hunter2@127.0.0.1:9/0")
    assert (gone.level, "127.0.0.1:9 cannot be used" in gone.message) == ("failed", True)
    assert "hunter2" not in repr(gone)


@pytest.mark.skipif(sys.platform == "win32", reason="no limit of files there")
def test_low_open_file_limit_is_reported_with_command() -> None:
    import resource

    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    assert all(each.level == "ok" for each in examine_machine(10))
    *_, files = examine_machine(soft)
    assert files.level == "warning"
    assert f"ulimit -n {2 * soft + 256}" in files.advice


def test_exit_status_and_json_output(tmp_path: Path) -> None:
    passed = CliRunner().invoke(app, ["doctor"])
    assert (passed.exit_code, "0 failed" in passed.output) == (0, True), passed.output
    failed = CliRunner().invoke(app, ["doctor", "--json", "--config", str(tmp_path / "none.yaml")])
    assert failed.exit_code == 1
    report = json.loads(failed.output)
    assert report["ok"] is False
    assert [each["message"] for each in report["findings"] if each["level"] == "failed"] == [
        "cannot be read: FileNotFoundError"
    ]
