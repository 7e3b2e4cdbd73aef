"""`hamlet doctor`, over real trouble: simulated vendors with faults, sockets, TLS, a real Redis."""

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


async def run_doctor(tmp_path: Path, config: str, limit_s: float = 20.0) -> list[Finding]:
    """All of an examination; nothing of it may show the key."""
    file = tmp_path / "doctor.yaml"
    file.write_text(config)
    found = await examine(file, SilentLog(), limit_s)
    assert KEY not in repr(found)
    return found


async def finding_for(tmp_path: Path, config: str, subject: str, limit_s: float = 20.0) -> Finding:
    (one,) = [f for f in await run_doctor(tmp_path, config, limit_s) if f.subject == subject]
    return one


async def test_healthy_configuration_has_no_findings(key, vendors, tmp_path) -> None:
    found = await run_doctor(tmp_path, CONFIG.format(url=vendors.url))
    levels = {one.subject: one.level for one in found}
    assert levels["oa/gpt-4o"] == levels["an/claude-haiku-4-5"] == "ok"
    assert levels["inside/embedded-chat"] == "skipped"
    assert not [one for one in found if one.level == "failed"]
    asked = vendors.world.state()
    assert all(one["requests"] == 1 for one in asked.values()), asked


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
        (Fault("content_filter"), "warning", "refuses so small a call", "real call"),
    ],
    ids=lambda value: value.kind + str(value.status) if isinstance(value, Fault) else "",
)
async def test_vendor_faults_are_reported_with_advice(
    key, vendors, tmp_path, fault: Fault, level: str, message: str, advice: str
) -> None:
    vendors.world.set_faults([fault])
    config = EMBEDDED_CONFIG.format(url=f"{vendors.url}/oa/v1", more="")
    one = await finding_for(tmp_path, config, "v/gpt-4o", 1.0 if fault.kind == "silent" else 20.0)
    assert (one.level, message in one.message, advice in one.advice) == (level, True, True), one


async def test_missing_model_is_reported_with_available_models(key, tmp_path) -> None:
    missing = json_reply({"error": {"code": "model_not_found", "message": "no"}}, 404)
    listed = json_reply({"data": [{"id": "gpt-4o-2024"}, {"id": "whisper-1"}]})
    async with LoopbackUpstream() as vendor:
        vendor.respond(lambda request: listed if request.method == "GET" else missing)
        one = await finding_for(
            tmp_path, EMBEDDED_CONFIG.format(url=vendor.url, more=""), "v/gpt-4o"
        )
    assert (one.level, one.message) == ("failed", "the vendor knows no model 'gpt-4o'")
    assert "The account has gpt-4o-2024" in one.advice


async def test_connection_steps_are_reported(key, tmp_path) -> None:
    async def told(url: str, more: str = "") -> str:
        one = await finding_for(
            tmp_path, EMBEDDED_CONFIG.format(url=url, more=more), "v/gpt-4o", 2.0
        )
        assert one.level == "failed"
        assert one.advice
        return one.message

    assert (await told("https://user:hunter2@no-such-name.invalid/v1")).startswith("DNS: the name")
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
        assert await told(f"http://u:hunter2@127.0.0.1:{port}/v1") == (
            f"connect: nobody listens at 127.0.0.1:{port}"
        )
    assert "metadata address" in await told("http://169.254.169.254/v1")
    private, public = make_certificate(tmp_path)
    async with LoopbackUpstream(tls=server_tls_context(private, public)) as vendor:
        url = vendor.url.replace("127.0.0.1", "localhost")
        assert "not trusted: self-signed certificate" in await told(f"{url}/v1")
    async with LoopbackUpstream() as plain:
        assert "accepts connections, but no TLS" in await told(plain.url.replace("http:", "https:"))
    assert "FileNotFoundError" in await told("https://127.0.0.1:9/v1", ", ca_file: no.pem")


async def test_a_key_that_is_not_set_is_named_and_the_others_are_asked_all_the_same(
    key, vendors, tmp_path
) -> None:
    text = CONFIG.format(url=vendors.url).replace("env:TEST_DOCTOR_KEY", "env:TEST_NOT_SET", 1)
    found = await run_doctor(tmp_path, text + "servr: {}\n")
    (unset,) = [one for one in found if one.check == "key"]
    assert "providers.oa.api_key" in unset.message
    assert unset.advice == "export TEST_NOT_SET=..."
    (typo,) = [one for one in found if one.check == "config"]
    assert (typo.level, "did you mean server?" in typo.message) == ("failed", True)
    levels = {one.subject: one.level for one in found}
    assert levels["an/claude-haiku-4-5"] == "ok"
    assert "oa/gpt-4o" not in levels


async def test_startup_errors_are_reported(key, vendors, tmp_path) -> None:
    (tmp_path / "x.manifest.json").write_text("{}")
    text = CONFIG.format(url=vendors.url) + f"suggest: {{packs: {{folder: '{tmp_path}'}}}}\n"
    move = "cutover: {legacy_url: 'http://127.0.0.1:1', state: s.json, chat_route: chta, features: {c: {paths: [/api/c]}}}\n"
    found = [one for one in await run_doctor(tmp_path, text + move) if one.check == "config"]
    told = sorted(one.message.partition(":")[0] for one in found)
    assert (told, {one.level for one in found}) == (
        ["cutover.chat_route", "suggest.packs"],
        {"failed"},
    )


@pytest.mark.parametrize(
    ("off_s", "level", "said"),
    [(0, "ok", "within 5 s"), (60, "warning", "behind"), (-3600, "failed", "ahead of")],
)
async def test_clock_skew_is_measured_from_date_header(
    key, tmp_path, off_s: float, level: str, said: str
) -> None:
    date = {"date": formatdate(time.time() + off_s, usegmt=True)}
    async with LoopbackUpstream() as vendor:
        vendor.reply(json_reply({"error": {}}, 401, date))
        one = await finding_for(
            tmp_path, EMBEDDED_CONFIG.format(url=vendor.url, more=""), "this machine"
        )
    assert (one.level, said in one.message) == (level, True), one


@pytest.mark.external("redis-server")
async def test_redis_problems_are_reported(key, vendors, tmp_path) -> None:
    async def told(url: str) -> Finding:
        async with environment({"TEST_REDIS": url}):
            return await finding_for(
                tmp_path, CONFIG.format(url=vendors.url) + "fleet: {redis: env:TEST_REDIS}\n",
                "fleet.redis",
            )  # fmt: skip

    async with redis_server(tmp_path) as redis:
        assert (await told(redis.url)).level == "ok"
        await redis.execute("CONFIG", "SET", "requirepass", "hunter2")
        wrong = await told(f"unix://:guess-hunter@{redis.socket}")
        assert (wrong.level, "refuses the password" in wrong.message) == ("failed", True), wrong
        assert "guess" not in repr(wrong)
        redis.pause()
        assert "does not answer" in (await told(redis.url)).message
        redis.resume()
    gone = await told("redis://someone:hunter2@127.0.0.1:9/0")
    assert (gone.level, "127.0.0.1:9 cannot be used" in gone.message) == ("failed", True)
    assert "hunter2" not in repr(gone)


@pytest.mark.skipif(sys.platform == "win32", reason="no limit of files there")
def test_low_open_file_limit_is_reported_with_command() -> None:
    import resource

    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    assert all(one.level == "ok" for one in examine_machine(10))
    *_, files = examine_machine(soft)
    assert files.level == "warning"
    assert f"ulimit -n {2 * soft + 256}" in files.advice


def test_the_command_ends_with_0_or_1_and_speaks_json(tmp_path: Path) -> None:
    well = CliRunner().invoke(app, ["doctor"])
    assert (well.exit_code, "0 failed" in well.output) == (0, True), well.output
    ill = CliRunner().invoke(app, ["doctor", "--json", "--config", str(tmp_path / "none.yaml")])
    assert ill.exit_code == 1
    told = json.loads(ill.output)
    assert told["ok"] is False
    assert [one["message"] for one in told["findings"] if one["level"] == "failed"] == [
        "cannot be read: FileNotFoundError"
    ]
