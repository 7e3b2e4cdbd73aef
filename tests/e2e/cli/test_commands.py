"""The commands as processes of their own, as users run them."""

import asyncio
import json
import os
import re
import signal
import sys
from pathlib import Path

import httpx2

from support.server import EMBEDDED_PROVIDER, EMBEDDED_ROUTES, run_server

HAMLET = (sys.executable, "-m", "hamlet")


async def run(*args: str, **environment: str) -> tuple[int, str, str]:
    process = await asyncio.create_subprocess_exec(
        *HAMLET,
        *args,
        env={**os.environ, "COLUMNS": "200", **environment},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, err = await process.communicate()
    return process.returncode or 0, out.decode(), err.decode()


async def test_serve_prints_url_and_reloads_on_sighup(tmp_path: Path) -> None:
    file = tmp_path / "c.yaml"
    file.write_text(EMBEDDED_PROVIDER + EMBEDDED_ROUTES)
    process = await asyncio.create_subprocess_exec(
        *HAMLET,
        "serve",
        "--port",
        "0",
        "--config",
        str(file),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    assert process.stdout
    assert process.stderr
    try:
        banner = (await process.stdout.readline()).decode()
        url = re.search(r"http://127\.0\.0\.1:\d+", banner)[0]
        while b"startup complete" not in await process.stderr.readline():
            pass
        async with httpx2.AsyncClient(base_url=url) as http:
            assert (await http.get("/readyz")).status_code == 200
            file.write_text(EMBEDDED_PROVIDER + EMBEDDED_ROUTES.replace("  hamlet:", "  renamed:"))
            process.send_signal(signal.SIGHUP)
            line = b""
            while b"config.reloaded" not in line:
                line = await process.stderr.readline()
            names = [row["id"] for row in (await http.get("/v1/models")).json()["data"]]
            assert names == ["renamed", "hamlet-embed"]
            file.write_text("nonsense: 1\n")
            process.send_signal(signal.SIGHUP)
            while b"config.refused" not in line:
                line = await process.stderr.readline()
            assert (await http.get("/v1/models")).json()["data"][0]["id"] == "renamed"
    finally:
        process.send_signal(signal.SIGTERM)
        await process.communicate()
    assert process.returncode in (0, -signal.SIGTERM), "uvicorn ends by the signal it was sent"


async def test_public_bind_requires_keys() -> None:
    code, _, err = await run("serve", "--host", "0.0.0.0", "--port", "0")
    assert code == 2
    assert "no keys are configured" in err


async def test_invalid_configuration_is_refused_with_all_lines(tmp_path: Path) -> None:
    file = tmp_path / "bad.yaml"
    file.write_text("providers: {e: {kind: embeded}}\nroutes: {}\nkey: 1\n")
    for command in (("config", "check", str(file)), ("serve", "--config", str(file))):
        code, _, err = await run(*command)
        assert code == 2
        assert f"{file}:1: providers.e.kind" in err
        assert f"{file}:3: key: unknown key (did you mean keys?)" in err
        assert "3 problems" in err


async def test_config_explain_and_schema() -> None:
    code, out, _ = await run("config", "explain", "hamlet")
    assert (code, "embedded/embedded-chat" in out, "attempts=3" in out) == (0, True, True)
    code, _, err = await run("config", "explain", "hamlt")
    assert (code, "did you mean hamlet?" in err) == (2, True)
    _, out, _ = await run("config", "schema")
    assert json.loads(out)["additionalProperties"] is False


async def test_startup_imports_no_vendor_sdk() -> None:
    code = "import sys, hamlet.app; from hamlet.config import load; hamlet.app.Hamlet(load()); print([m for m in ('openai','anthropic','httpx2','providers') if m in sys.modules])"
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", code, stdout=asyncio.subprocess.PIPE
    )
    out, _ = await process.communicate()
    assert out.decode().strip() == "[]"


async def test_catalogue_import_reports_accepted_and_rejected_rows(tmp_path: Path) -> None:
    file, folder = tmp_path / "mine.csv", str(tmp_path / "packs")
    file.write_text(
        "url,title_ko,topics\nhttps://a.example.org/,가,study\nhttp://b.example.org/,나,\n"
    )
    arguments = ("catalogue", "import", str(file), "--folder", folder, "--license", "CC0")
    code, out, err = await run(*arguments)
    assert code == 1
    assert "mine: 1 taken, 1 refused" in out
    assert f"{file}:3: url: must be an https address" in err
    code, out, _ = await run("catalogue", "stats", "--folder", folder)
    assert code == 0
    assert re.search(r"mine\s+links\s+1\s+1\s+CC0\s+mine\.csv", out)
    code, _, err = await run(*arguments[:-1], " ")
    assert code == 2
    assert "needs a licence" in err
    file.write_text("url,title\n")
    code, _, err = await run(*arguments)
    assert (code, "nothing is changed" in err) == (2, True)


async def test_config_check_covers_packs_and_sources(tmp_path: Path) -> None:
    (tmp_path / "x.manifest.json").write_text("{}")
    file = tmp_path / "c.yaml"
    file.write_text(
        EMBEDDED_PROVIDER + EMBEDDED_ROUTES + f"suggest:\n  packs:\n    folder: '{tmp_path}'\n"
    )
    code, _, err = await run("config", "check", str(file))
    assert code == 2
    assert f"{file}:8: suggest.packs.folder: x.manifest.json" in err
    bad = "  sources: {web: {kind: brav}}\nkeys: [{name: x}]\n"
    file.write_text(EMBEDDED_PROVIDER + EMBEDDED_ROUTES + "suggest:\n" + bad)
    code, _, err = await run("config", "check", str(file))
    assert code == 2
    assert "did you mean brave?" in err
    assert "keys" in err


async def run_healthcheck(*words: str) -> tuple[int, str]:
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "hamlet.healthcheck",
        *words,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    out, _ = await process.communicate()
    return process.returncode or 0, out.decode().strip()


async def test_healthcheck_detects_running_server() -> None:
    async with run_server() as running:
        assert await run_healthcheck(running.url) == (0, f"{running.url}/livez: 200")
        running.hamlet.start_draining()
        code, out, _ = await run("healthcheck", "--url", running.url)
        assert (code, out.strip()) == (0, f"{running.url}/livez: 200"), (
            "a draining process is alive"
        )
        assert await run_healthcheck(f"{running.url}/v1") == (1, f"{running.url}/v1/livez: 404")
    code, out = await run_healthcheck(running.url)
    assert (code, "no hamlet answers" in out) == (1, True)
    assert (await run_healthcheck("nonsense"))[0] == 1
