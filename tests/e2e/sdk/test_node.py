"""The official openai package for Node, unmodified, against hamlet over every provider."""

import asyncio

import pytest

from support.paths import NODE
from support.server import RunningServer

CHECKS = 9


@pytest.mark.parametrize("model", ["openai", "azure", "azure-v1", "anthropic", "vllm", "embedded"])
@pytest.mark.external("node", "npm")
@pytest.mark.skipif(not (NODE / "node_modules").exists(), reason="run `make test`: npm ci")
async def test_the_node_sdk_passes_its_list(running: RunningServer, model: str) -> None:
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
