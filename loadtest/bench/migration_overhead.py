"""The cost of the migration proxy: its own work, and the latency that it adds to hamlet1.

    python -m loadtest.bench.migration_overhead [ROUNDS] [CALLS]

The first is timed in this process around an application that does nothing, as the best of several
rounds. The second calls the Node stand-in directly and through hamlet in interleaved rounds, serially
over one keep-alive connection; hamlet1, hamlet, the vendor and the client share the machine.
"""

from __future__ import annotations

import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import aiohttp
import orjson
import uvloop

from hamlet.config import load
from hamlet.migration.config_check import resolve_config
from hamlet.migration.feature import FeatureSet
from hamlet.migration.file_store import FileStore
from hamlet.migration.legacy_client import LegacyClient
from hamlet.migration.local_state import LocalRolloutState
from hamlet.migration.metrics import CutoverMetrics
from hamlet.migration.proxy import MigrationProxy, NewArm
from hamlet.migration.proxy.legacy_proxy import LegacyProxy
from hamlet.migration.proxy.tester_override import TesterOverride
from hamlet.migration.rollout_controller import RolloutController
from hamlet.migration.rollout_document import FeatureState, RolloutDocument
from hamlet.migration.shadow import ShadowRunner
from hamlet.telemetry import make_log
from hamlet.telemetry.exposition import Exposition
from loadtest import ROOT
from loadtest.engine.processes import free_port
from loadtest.engine.programs import RestartableProgram, find_program
from loadtest.engine.quantiles import p50_p99
from loadtest.engine.vendor import FakeVendor
from loadtest.engine.waiting import wait_until_ok

CONFIG = """
server: {{port: {hamlet}}}
providers: {{vendor: {{kind: openai_compatible, base_url: "{vendor}/v1"}}}}
routes: {{chat: {{deployments: [{{provider: vendor, model: new-model}}]}}}}
cutover:
  legacy_url: http://127.0.0.1:{hamlet1}
  state: state.json
  chat_route: chat
  tester_key: file:tester
  features: {{chat: {{paths: [/api/chat]}}, rest: {{paths: ["/api/*"]}}}}
telemetry: {{log_level: error}}
"""
BODY = orjson.dumps(
    {
        "conversationId": "c-81726",
        "messages": [{"sender": "user", "text": "When is the last subway in Seoul? " * 8}],
    }
)
HEADERS = [
    (b"host", b"hamlet"),
    (b"user-agent", b"bench"),
    (b"accept", b"*/*"),
    (b"content-type", b"application/json"),
    (b"content-length", str(len(BODY)).encode()),
    (b"x-request-id", b"req_1"),
]


async def measure_router(folder: Path, calls: int) -> None:
    """CPU microseconds that the migration proxy adds to its arm."""
    log = make_log("error")
    config = resolve_config(load(folder / "hamlet.yaml"))
    features = FeatureSet(config, CutoverMetrics(Exposition(), list(config.features)), log)
    view = LocalRolloutState(RolloutController(FileStore(config.state), config), log)

    async def arm(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"{}", "more_body": False})

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": BODY, "more_body": False}

    async def send(message: Any) -> None:
        return None

    new = NewArm(arm, arm, lambda *_: None, lambda *_: True)  # type: ignore[arg-type]
    proxy = MigrationProxy(
        arm,
        new,
        LegacyProxy(LegacyClient(config)),
        view,
        features,
        ShadowRunner(config.shadow, lambda: 0.0, log),
        TesterOverride("key"),
        max_body_bytes=1 << 20,
        log=log,
    )
    scope = {"type": "http", "method": "POST", "path": "/api/chat", "headers": HEADERS}

    async def call_us(application: Any, path: str) -> float:
        # CPU time of this process: the machine has other load.
        start = time.process_time()
        for _ in range(calls):
            await application({**scope, "path": path}, receive, send)
        return (time.process_time() - start) / calls * 1e6

    async def best_call_us(application: Any, path: str) -> float:
        return min([await call_us(application, path) for _ in range(15)])

    baseline_us = await best_call_us(arm, "/api/chat")
    print(f"an application that does nothing: {baseline_us:.1f} us")
    for name, state, path in (
        ("a path that does not move", FeatureState(), "/v1/models"),
        ("canary, new arm", FeatureState(stage="canary", weight_bp=9_999), "/api/chat"),
        ("new", FeatureState(stage="new"), "/api/chat"),
    ):
        view.document = RolloutDocument(epoch=1, features={"chat": state})
        features.apply_document(view.document)
        print(f"{name}: the proxy adds {await best_call_us(proxy, path) - baseline_us:.1f} us")


async def measure_passthrough(folder: Path, ports: dict[str, int], rounds: int, calls: int) -> None:
    """Latency in milliseconds of hamlet1 directly and through hamlet."""
    direct, through = (f"http://127.0.0.1:{ports[name]}" for name in ("hamlet1", "hamlet"))
    cases = [
        ("GET /api/profile", "GET", "/api/profile", None),
        ("POST /api/chat", "POST", "/api/chat", BODY),
        ("POST /api/upload, 100 kB", "POST", "/api/upload", b"x" * 100_000),
    ]
    async with aiohttp.ClientSession() as http:
        for name, method, path, body in cases:
            times: dict[str, list[float]] = {direct: [], through: []}
            for _ in range(rounds):
                for base in (direct, through):
                    for _ in range(calls):
                        start = time.perf_counter()
                        async with http.request(method, base + path, data=body) as answer:
                            await answer.read()
                            assert answer.status < 300, answer.status
                        times[base].append(time.perf_counter() - start)
            (a, a99), (b, b99) = (
                (p50 * 1000, p99 * 1000) for p50, p99 in map(p50_p99, times.values())
            )
            print(
                f"{name}: direct p50 {a:.2f} ms p99 {a99:.1f} ms, through hamlet p50 {b:.2f} ms "
                f"p99 {b99:.1f} ms, added p50 {b - a:.2f} ms"
            )


async def main(rounds: int, calls: int) -> None:
    """Start everything and measure."""
    ports = {name: free_port() for name in ("hamlet1", "hamlet")}
    vendor = FakeVendor()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        async with vendor.upstream as upstream:
            (folder / "hamlet.yaml").write_text(CONFIG.format(vendor=upstream.url, **ports))
            (folder / "tester").write_text("key")
            proxy = FeatureState(stage="proxy")
            FileStore(folder / "state.json").create(
                RolloutDocument(epoch=1, features={"chat": proxy, "rest": proxy})
            )
            await measure_router(folder, 3000)
            node = {"UPSTREAM": f"{upstream.url}/v1", "PORT": str(ports["hamlet1"])}
            server = (find_program("node"), str(ROOT / "tests/hamlet1/server.js"))
            serve = (
                sys.executable,
                "-m",
                "hamlet",
                "serve",
                "--config",
                str(folder / "hamlet.yaml"),
            )
            programs = [
                RestartableProgram(server, folder / "node.log", node),
                RestartableProgram(serve, folder / "hamlet.log"),
            ]
            try:
                for started in programs:
                    await started.start()
                await wait_until_ok(f"http://127.0.0.1:{ports['hamlet1']}/health")
                await wait_until_ok(f"http://127.0.0.1:{ports['hamlet']}/readyz")
                await measure_passthrough(folder, ports, rounds, calls)
            finally:
                for started in programs:
                    await started.stop()


if __name__ == "__main__":
    given = [int(word) for word in sys.argv[1:]]
    uvloop.run(main(*(given + [10, 100][len(given) :])))
