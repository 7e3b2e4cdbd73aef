"""The frontend's types, generated as the documentation says, and used by a checked program."""

import asyncio
import shutil
from pathlib import Path

import pytest

from support.server import serving

NODE = Path(__file__).parent / "node"
TOOLS = NODE / "node_modules" / ".bin"


@pytest.mark.skipif(not (TOOLS / "openapi-typescript").exists(), reason="npm ci has not run")
async def test_the_generated_types_fit_a_program_that_uses_them(tmp_path: Path) -> None:
    async def run(*command: str | Path) -> None:
        process = await asyncio.create_subprocess_exec(
            *command, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
        )
        out, _ = await process.communicate()
        assert process.returncode == 0, out.decode()

    shutil.copy(NODE / "screen.ts", tmp_path)
    async with serving() as running:
        made = tmp_path / "hamlet.d.ts"
        source = f"{running.url}/openapi.json"
        await run(TOOLS / "openapi-typescript", source, "--default-non-nullable=false", "-o", made)
    strict = ("--strict", "--noEmit", "--module", "nodenext", "--target", "es2022")
    await run(TOOLS / "tsc", *strict, tmp_path / "screen.ts")
