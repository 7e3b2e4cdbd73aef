"""Configuration files of commit b1e5b88 are valid and start."""

import re
import sys
from pathlib import Path

import httpx2
import pytest

from support.plugin import run_python
from support.server_process import run_server_process

COPIES = Path(__file__).parent / "b1e5b88/deploy"
FILES = sorted(COPIES.rglob("*.yaml"))


def copy_config(source: Path, folder: Path) -> tuple[Path, dict[str, str]]:
    """A copy of its own, and a value for every environment variable that it names."""
    text = source.read_text()
    config = folder / source.name
    config.write_text(text)
    secrets = {name: f"sk-{name.lower()}" for name in re.findall(r"env:([A-Z0-9_]+)", text)}
    return config, secrets


def test_every_file_of_the_commit_is_there() -> None:
    assert [str(file.relative_to(COPIES)) for file in FILES] == [
        "examples/cutover.yaml",
        "examples/demo.yaml",
        "examples/two-providers.yaml",
        "fleets/azure-27-ptu.yaml",
        "fleets/local-vllm.yaml",
        "fleets/one-vendor.yaml",
    ]


@pytest.mark.parametrize("source", FILES, ids=lambda path: path.stem)
async def test_a_configuration_is_valid_and_its_server_becomes_ready(
    source: Path, tmp_path: Path
) -> None:
    config, secrets = copy_config(source, tmp_path)
    command = ("-m", "hamlet", "config", "check", str(config))
    assert ": ok (" in await run_python(Path(sys.executable), *command, cwd=tmp_path, **secrets)
    async with (
        run_server_process(config, environment=secrets) as server,
        httpx2.AsyncClient(base_url=server.url) as http,
    ):
        assert (await http.get("/readyz")).status_code == 200
