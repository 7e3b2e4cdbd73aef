"""Fifty reloads under load, a third of them invalid: no call fails, every refusal has its reason."""

import asyncio
from collections import Counter
from pathlib import Path

import httpx2

from hamlet.suggest.content import save_pack
from hamlet.suggest.content.rows import ChipRow
from support.server import environment, run_server

CONFIG = """
providers:
  embedded: {kind: embedded, tokens_per_s: 0}
  slow: {kind: embedded, tokens_per_s: 40}
keys:
  - {name: backend, secret: env:TEST_BACKEND_KEY}
  - {name: ops, secret: env:TEST_OPS_KEY, admin: true}
routes:
  hamlet: {deployments: [{provider: embedded, model: embedded-chat}]}
  slow: {deployments: [{provider: slow, model: embedded-chat}]}
suggest: {packs: {folder: PACKS}}
"""
ROW = ChipRow(
    text={"en": "Plan my dinner"}, prompt={"en": "Plan my dinner for tonight."}, topics=["food"]
)
CHAT_BODY = {
    "max_tokens": 10,
    "messages": [{"role": "user", "content": "How are you today, hamlet?"}],
}
KEYS = {"TEST_BACKEND_KEY": "hk_backend", "TEST_OPS_KEY": "hk_ops"}


def break_config(file: Path, config: str, manifest: Path, i: int) -> str:
    """Break the configuration in the i-th way; returns the path that must be reported."""
    kinds = {
        "providers.slow.kind": lambda: file.write_text(
            config.replace("slow: {kind: em", "slow: {kind: x")
        ),
        "keys[1].secret": lambda: file.write_text(config.replace("env:TEST_OPS_KEY", "hk_inline")),
        "routes.slow.deployments[0].provider": lambda: file.write_text(
            config.replace("provider: slow", "provider: gone")
        ),
        "suggest.packs.folder": lambda: manifest.write_text("{ this is no pack"),
    }
    path = list(kinds)[i % len(kinds)]
    kinds[path]()
    return path


async def test_reloads_under_load_fail_no_call(tmp_path: Path) -> None:
    file, packs = tmp_path / "hamlet.yaml", tmp_path / "packs"
    manifest, config = packs / "mine.manifest.json", CONFIG.replace("PACKS", str(packs))
    seen: Counter[object] = Counter()
    over = asyncio.Event()

    async def calls(http: httpx2.AsyncClient, model: str) -> None:
        body = CHAT_BODY | {"model": model, "stream": model == "slow"}
        headers = {"authorization": "Bearer hk_backend"}
        while not over.is_set():
            answer = await http.post("/v1/chat/completions", json=body, headers=headers)
            whole = answer.text.endswith("data: [DONE]\n\n") or model == "hamlet"
            seen[(answer.status_code, whole)] += 1
            screen = await http.post("/v1/suggest", json={}, headers=headers)
            seen[(screen.status_code, len(screen.json()["chips"]["items"]) > 0)] += 1
            await asyncio.sleep(0.02)

    async def reloads(http: httpx2.AsyncClient) -> None:
        for i in range(50):
            file.write_text(config + f"# {i}\n")
            manifest.unlink(missing_ok=True)
            save_pack(packs, "mine", "chips", [ROW], "own", "test")
            named = break_config(file, config, manifest, i // 3) if i % 3 == 2 else None
            answer = await http.post("/v1/admin/reload", headers={"x-api-key": "hk_ops"})
            if named is None:
                assert answer.status_code == 200, (i, answer.text)
                continue
            assert answer.status_code == 422, (i, named)
            problem = next(p for p in answer.json()["problems"] if p["path"] == named)
            assert problem["message"]
            assert problem["line"]

    file.write_text(config)
    async with environment(KEYS), run_server(file) as running:
        # The load runs in this process too: a busy machine may shed calls, which is no failure.
        await running.hamlet.overload_monitor.aclose()
        async with httpx2.AsyncClient(base_url=running.url, timeout=60) as http:
            loads = [asyncio.create_task(calls(http, m)) for m in ["hamlet"] * 3 + ["slow"] * 5]
            try:
                await reloads(http)
            finally:
                over.set()
                await asyncio.gather(*loads)
            metrics = (await http.get("/metrics")).text
    assert set(seen) == {(200, True)}
    assert seen.total() > 200
    assert 'reloads_total{outcome="ok"} 34.0' in metrics
    assert 'reloads_total{outcome="refused"} 16.0' in metrics
