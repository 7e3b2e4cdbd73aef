"""hamlet on a free loopback port, in the test's own event loop."""

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
from hamlet.net.server.connection import http_protocol
from hamlet.net.server.context import ConnectionTimeouts
from hamlet.telemetry import make_log
from loadtest.engine.waiting import wait_until
from support.canary_tokens import CanaryTokens, describe_log_line, describe_metric_line

EMBEDDED_PROVIDER = "providers: {embedded: {kind: embedded, tokens_per_s: 0}}\n"
EMBEDDED_ROUTES = """
routes:
  hamlet: {deployments: [{provider: embedded, model: embedded-chat}]}
  hamlet-embed: {operation: embeddings, deployments: [{provider: embedded, model: embedded-embed}]}
"""


@dataclass
class RunningServer:
    url: str
    hamlet: Hamlet
    log: StringIO


@asynccontextmanager
async def run_server(
    config: str | Path = EMBEDDED_PROVIDER + EMBEDDED_ROUTES,
) -> AsyncIterator[RunningServer]:
    """Serve hamlet for a configuration text or file; its output must not contain what it was sent."""
    log, canaries = StringIO(), CanaryTokens()
    loaded = load(config) if isinstance(config, Path) else loads(config, "test.yaml")
    hamlet = Hamlet(loaded, log=make_log("debug", stream=log))
    hamlet.metrics.exposition.cache_ttl_s = 0.0
    spans = _record_spans(hamlet)
    own = loaded.config.server
    settings = uvicorn.Config(
        canaries.wrap(hamlet),
        port=0,
        http=http_protocol(
            ConnectionTimeouts(own.request_head_s, own.reader_stall_s), render_error
        ),
        log_config=None,
        access_log=False,
        timeout_graceful_shutdown=1,
    )
    server = uvicorn.Server(settings)
    server.install_signal_handlers = lambda: None  # type: ignore[attr-defined]
    sock = settings.bind_socket()
    task = asyncio.create_task(server._serve([sock]))
    try:
        await wait_until(lambda: server.started)
        yield RunningServer(f"http://127.0.0.1:{sock.getsockname()[1]}", hamlet, log)
    finally:
        server.should_exit = True
        await task
        sock.close()
    canaries.assert_absent("the log", log.getvalue(), describe_log_line)
    canaries.assert_absent("a span", "\n".join(spans))
    for accept in ("text/plain", "application/openmetrics-text"):
        text, _ = await hamlet.metrics.exposition.render(accept, fresh=True)
        canaries.assert_absent("a metric", text.decode(), describe_metric_line)


def _record_spans(hamlet: Hamlet) -> list[str]:
    """Every exported span as JSON; it is still sent to the collector."""
    recorded: list[str] = []
    for each in hamlet._span_exporters:
        export = each._exporter.export

        def record_and_export(spans, export=export):
            recorded.extend(span.to_json(indent=None) for span in spans)
            return export(spans)

        each._exporter.export = record_and_export
    return recorded


@asynccontextmanager
async def environment(values: Mapping[str, str]) -> AsyncIterator[None]:
    """Set environment variables for the duration of a block."""
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
