"""The migration is detachable: without a `cutover` section nothing of it exists in a process."""

import subprocess
import sys
from pathlib import Path

import httpx2
import pytest

from hamlet.config import ConfigError
from support.server import EMBEDDED_PROVIDER, EMBEDDED_ROUTES, run_server

CONFIG = EMBEDDED_PROVIDER + EMBEDDED_ROUTES
CUTOVER = """
cutover:
  legacy_url: http://127.0.0.1:1
  state: state.json
  chat_route: hamlet
  features: {chat: {paths: [/api/chat]}}
"""
LOADED_CODE = """
import sys, hamlet.cli.serve, hamlet.serving
from hamlet.app import create_app
from pathlib import Path
create_app(Path(sys.argv[1]))
print(*sys.modules)
"""


def loaded_migration_modules(config: Path) -> set[str]:
    """The modules of the migration that are loaded once an application is built."""
    done = subprocess.run(
        [sys.executable, "-c", LOADED_CODE, str(config)], capture_output=True, text=True, check=True
    )
    return {name for name in done.stdout.split() if name.startswith("hamlet.migration")}


@pytest.mark.slow
def test_serving_imports_the_migration_only_with_a_cutover_section(tmp_path: Path) -> None:
    file = tmp_path / "hamlet.yaml"
    file.write_text(CONFIG)
    assert loaded_migration_modules(file) == set()
    file.write_text(CONFIG + CUTOVER)
    loaded = loaded_migration_modules(file)
    assert "hamlet.migration.proxy.proxy" in loaded
    assert not any(name.startswith("hamlet.migration.cli") for name in loaded)


async def read_surface(config: str | Path) -> tuple[set[str], int, str]:
    """The paths of the OpenAPI document, the status of the admin endpoint, and the metrics."""
    async with run_server(config) as running, httpx2.AsyncClient(base_url=running.url) as http:
        paths = set((await http.get("/openapi.json")).json()["paths"])
        status = (await http.get("/v1/admin/cutover")).status_code
        metrics = (await http.get("/metrics")).text
    return paths, status, metrics


async def test_routes_and_metrics_exist_only_with_a_cutover_section(tmp_path: Path) -> None:
    paths, status, metrics = await read_surface(CONFIG)
    assert not {path for path in paths if "cutover" in path or path.startswith("/api/")}
    assert status == 404
    assert "hamlet_requests_total" in metrics
    assert "hamlet_cutover" not in metrics

    file = tmp_path / "hamlet.yaml"
    file.write_text(CONFIG + CUTOVER)
    paths, status, metrics = await read_surface(file)
    assert {"/v1/admin/cutover", "/api/chat"} <= paths
    assert status == 200
    assert 'hamlet_cutover_state{feature="chat",state="legacy"} 1.0' in metrics


async def test_reload_refuses_an_invalid_cutover_section(tmp_path: Path) -> None:
    file = tmp_path / "hamlet.yaml"
    file.write_text(CONFIG + CUTOVER)
    async with run_server(file) as running:
        file.write_text(CONFIG + CUTOVER.replace("chat_route: hamlet", "chat_route: hamlt"))
        with pytest.raises(ConfigError, match=r"cutover\.chat_route: no such route: hamlt"):
            await running.hamlet.reload()
        file.write_text(CONFIG + CUTOVER)
        await running.hamlet.reload()


@pytest.mark.slow
def test_commands_import_the_migration_only_when_they_need_it() -> None:
    code = "import sys; from hamlet.cli import app; app(sys.argv[1:], standalone_mode=False); print(*sys.modules)"
    for arguments, expected in ((["init", "--help"], False), (["cutover", "--help"], True)):
        command = [sys.executable, "-c", code, *arguments]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        assert ("hamlet.migration.cli" in done.stdout.split()) is expected
