"""The official openai package for Node, unmodified, against hamlet over every provider."""

import asyncio

import pytest

from support.paths import NODE
from support.server import RunningServer

CHECKS = 9


@pytest.mark.parametrize("model", ["openai", "azure", "azure-v1", "anthropic", "vllm", "embedded"])
async def test_node_sdk_passes_its_cases(running: RunningServer, package: Path, model: str) -> None:
    if not (package / "node_modules").exists():
        pytest.skip("run `make test`, which installs the locked packages")
    process = await asyncio.create_subprocess_exec(
        "node",
        "check.js",
        running.url,
        model,
        model,
        cwd=NODE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    output, _ = await process.communicate()
    assert process.returncode == 0, output.decode()
    assert output.decode().count("ok ") == CHECKS
