"""hamlet itself, served by uvicorn on a free port of loopback, in the test's own loop."""

import asyncio
import os
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from io import StringIO
from pathlib import Path

import uvicorn

from hamlet.api.dialects.openai.errors import render_error
from hamlet.app import Hamlet
from hamlet.config import load, loads
from hamlet.net.server.connection import Patience, guarded
from hamlet.telemetry import make_log
from support.canaries import Canaries, event_of, family_of

FAST = "providers: {embedded: {kind: embedded, tokens_per_s: 0}}\n"
ROUTES = """
routes:
  hamlet: {deployments: [{provider: embedded, model: embedded-chat}]}
  hamlet-embed: {operation: embeddings, deployments: [{provider: embedded, model: embedded-embed}]}
"""


@dataclass
class Running:
    url: str
    hamlet: Hamlet
    log: StringIO


@asynccontextmanager
async def serving(config: str | Path = FAST + ROUTES) -> AsyncIterator[Running]:
    """A served hamlet for a config text or file; what it is sent must not be in what it tells."""
    log, canaries = StringIO(), Canaries()
    loaded = load(config) if isinstance(config, Path) else loads(config, "test.yaml")
    hamlet = Hamlet(loaded, log=make_log("debug", stream=log))
    hamlet.metrics.exposition.keep_s = 0.0
    spans = _overheard(hamlet)
    own = loaded.config.server
    settings = uvicorn.Config(
        canaries.watching(hamlet),
        port=0,
        http=guarded(Patience(own.request_head_s, own.reader_stall_s), render_error),
        log_config=None,
        access_log=False,
        timeout_graceful_shutdown=1,
    )
    server = uvicorn.Server(settings)
    server.install_signal_handlers = lambda: None  # type: ignore[attr-defined]
    sock = settings.bind_socket()
    task = asyncio.create_task(server._serve([sock]))
    try:
        while not server.started:
            await asyncio.sleep(0.01)
        yield Running(f"http://127.0.0.1:{sock.getsockname()[1]}", hamlet, log)
    finally:
        server.should_exit = True
        await task
        sock.close()
    canaries.look("the log", log.getvalue(), event_of)
    canaries.look("a span", "\n".join(spans))
    for accept in ("text/plain", "application/openmetrics-text"):
        text, _ = await hamlet.metrics.exposition.render(accept, fresh=True)
        canaries.look("a metric", text.decode(), family_of)


def _overheard(hamlet: Hamlet) -> list[str]:
    """Every span that is sent, as JSON, while it still goes to its collector."""
    told: list[str] = []
    for each in hamlet._spans:
        export = each._exporter.export

        def both(spans, export=export):
            told.extend(span.to_json(indent=None) for span in spans)
            return export(spans)

        each._exporter.export = both
    return told


@asynccontextmanager
async def environment(values: Mapping[str, str]) -> AsyncIterator[None]:
    """Environment variables for the length of a block."""
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


async def until(holds, within_s: float = 60.0) -> None:
    """Wait for a condition. Raises TimeoutError."""
    async with asyncio.timeout(within_s):
        while not holds():
            await asyncio.sleep(0.005)
