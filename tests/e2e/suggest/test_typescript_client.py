"""The documented TypeScript client: types generated from OpenAPI, compiled, and run."""

import asyncio
import json
import shutil
from pathlib import Path

import httpx2
import pytest

from support.doc_commands import fenced_blocks
from support.paths import NODE, ROOT
from support.server import run_server

TOOLS = NODE / "node_modules" / ".bin"


# Prints what the documented functions return.
DRIVER = """
import { suggest, tapped, watch } from "./suggestions.js";
const base = process.argv[2];
const shown = await suggest(base, "서울 지하철");
const seen = [];
await watch(base, "roses", (section) => seen.push(...Object.keys(section)));
await tapped(base, shown.chips.items[0]);
console.log(JSON.stringify({ chips: shown.chips.items.map((chip) => chip.text), seen }));
"""


@pytest.mark.external("node")
@pytest.mark.skipif(not (TOOLS / "openapi-typescript").exists(), reason="npm ci has not run")
async def test_documented_client_compiles_and_runs(tmp_path: Path) -> None:
    async def run(*command: str | Path) -> str:
        process = await asyncio.create_subprocess_exec(
            *command, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
        )
        out, _ = await process.communicate()
        assert process.returncode == 0, out.decode()
        return out.decode()

    shutil.copy(NODE / "screen.ts", tmp_path)
    documented = next(t for _, t in fenced_blocks(ROOT / "docs/main-screen.md", "ts"))
    (tmp_path / "suggestions.ts").write_text(documented)
    (tmp_path / "driver.mjs").write_text(DRIVER)
    (tmp_path / "package.json").write_text('{"type": "module"}')
    async with run_server() as running:
        types_file = tmp_path / "hamlet.d.ts"
        source = f"{running.url}/openapi.json"
        await run(
            TOOLS / "openapi-typescript", source, "--default-non-nullable=false", "-o", types_file
        )
        strict = (
            "--strict",
            "--module",
            "nodenext",
            "--target",
            "es2022",
            "--lib",
            "es2022,dom,dom.iterable",
        )
        programs = (tmp_path / "screen.ts", tmp_path / "suggestions.ts")
        await run(TOOLS / "tsc", *strict, *programs)
        printed = json.loads(await run("node", tmp_path / "driver.mjs", running.url))
        async with httpx2.AsyncClient(base_url=running.url) as http:
            rates = (await http.get("/v1/admin/suggestions/ctr")).json()
    assert len(printed["chips"]) == 4
    assert {"links", "chips"} <= set(printed["seen"])
    assert sum(row["clicks"] for row in rates) == 1, "the click was counted"
