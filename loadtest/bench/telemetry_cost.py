"""The cost of telemetry: `make bench-signals`. Prints microseconds per call and the loop's lag during scrapes.

Per call: metrics, access line, trace and request id, measured together on records like the gateway's.
A scrape is measured with the largest number of series that a configuration can have, by the lag of an
event loop meanwhile: in a thread, as hamlet does it, and inline for comparison.
"""

from __future__ import annotations

import asyncio
import gc
import io
import statistics
import time
from typing import Any

import orjson
from prometheus_client import generate_latest

from hamlet.api.dispatcher import request_id_of
from hamlet.config import Policy
from hamlet.core import FinishReason, ModelCard, Price, Usage
from hamlet.core.trace import current_trace_id, start_trace
from hamlet.gateway import Attempt, CallRecord
from hamlet.registry import Deployment, ProviderHandle, ReservedThroughput, Route
from hamlet.routing import LoadBalancer
from hamlet.telemetry import AccessLog, Metrics, RoutingMetrics, make_log

_CALLS, _ROUNDS = 20_000, 5


def _deployments(count: int) -> list[Deployment]:
    return [
        Deployment(
            f"provider-{i % 5}/model-{i}",
            ProviderHandle(f"provider-{i % 5}", "scripted", None, ("chat",)),
            f"model-{i % 2}",
            ModelCard(price=Price(input=1, output=4)),
            capacity=ReservedThroughput(50, 2500, 3.0),
        )
        for i in range(count)
    ]


def _filled_metrics(deployments: list[Deployment], routes: int) -> Metrics:
    """Metrics with every series that calls can create."""
    metrics = Metrics()
    tiers = tuple(tuple(deployments[i::5]) for i in range(5))
    routes_by_name = {
        f"route-{i}": Route(f"route-{i}", "chat", tiers, Policy()) for i in range(routes)
    }
    metrics.init_series(routes_by_name)
    state = RoutingMetrics(LoadBalancer(), lambda: dict(list(routes_by_name.items())[:1]))
    metrics.exposition.add_source(state.samples)
    for route in routes_by_name:
        for deployment in deployments:
            for stream in (True, False):
                record, attempt = _make_record(deployment, route, stream)
                metrics.on_start(record)
                metrics.on_attempt(record, attempt)
                metrics.on_end(record)
    return metrics


def _make_record(
    deployment: Deployment, route: str, stream: bool = True
) -> tuple[CallRecord, Attempt]:
    record = CallRecord("chat", route, "somebody", "req_0123456789", stream, 0.0, "openai", True)
    record.trace_id, record.attempts, record.deployment = "a" * 32, 1, deployment
    record.first_token_s, record.duration_s, record.finish_reason = 0.4, 2.5, FinishReason.STOP
    record.usage = Usage(1200, 300, 400)
    return record, Attempt(deployment, 0.0, 0.4)


def reference_cost_us() -> float:
    """CPU microseconds of a yardstick for the machine's speed: 100 small orjson documents."""
    fields = {f"key_{i}": i for i in range(20)}
    begun = time.process_time()
    for _ in range(200):
        for _ in range(100):
            orjson.dumps(dict(fields))
    return (time.process_time() - begun) / 200 * 1e6


def telemetry_cost_us() -> float:
    """CPU microseconds of all telemetry of one call."""
    deployments = _deployments(27)
    metrics = _filled_metrics(deployments, 4)
    access = AccessLog(make_log(stream=io.StringIO()))
    calls = [_make_record(deployment, "route-1") for deployment in deployments]
    begun = time.process_time()
    for i in range(_CALLS):
        request_id_of({}, start_trace(None).trace_id)
        record, attempt = calls[i % 27]
        record.trace_id = current_trace_id()
        for observer in (metrics, access):
            any_observer: Any = observer
            any_observer.on_start(record)
            any_observer.on_attempt(record, attempt)
            any_observer.on_end(record)
        metrics.count_http_response("/v1/chat/completions", 200)
    return (time.process_time() - begun) / _CALLS * 1e6


async def _loop_lag_ms(operation: Any) -> float:
    """The largest lag of the loop while `work` ran, in milliseconds."""
    max_lag_s, done = 0.0, False

    async def measure_lag() -> None:
        nonlocal max_lag_s
        while not done:
            before = time.perf_counter()
            await asyncio.sleep(0.001)
            max_lag_s = max(max_lag_s, time.perf_counter() - before - 0.001)

    watcher = asyncio.create_task(measure_lag())
    await asyncio.sleep(0.02)
    await operation()
    await asyncio.sleep(0.02)
    done = True
    await watcher
    return max_lag_s * 1000


async def measure_scrapes(metrics: Metrics) -> tuple[int, list[float], list[float]]:
    """(number of series, lags during scrapes in a thread, lag of an inline scrape), in milliseconds."""
    exposition = metrics.exposition

    async def threaded() -> None:
        await exposition.render("", fresh=True)

    async def inline() -> None:
        generate_latest(metrics.registry)

    text, _ = await exposition.render("", fresh=True)
    series = sum(not line.startswith(b"#") for line in text.splitlines())
    return (
        series,
        [await _loop_lag_ms(threaded) for _ in range(20)],
        [await _loop_lag_ms(inline) for _ in range(_ROUNDS)],
    )


def main() -> None:
    """Print both."""
    pairs = [(telemetry_cost_us(), reference_cost_us()) for _ in range(_ROUNDS)]
    cost, unit = min(c for c, _ in pairs), min(r for _, r in pairs)
    print(f"metrics + access line + ids: {cost:.1f} us per call (best of {_ROUNDS}; limit 25),")
    print(f"  {cost / unit:.2f} times 100 small orjson documents ({unit:.1f} us)")
    for count, routes in ((6, 4), (27, 4), (64, 13)):
        metrics = _filled_metrics(_deployments(count), routes)
        # As the application does when it starts.
        gc.collect()
        gc.freeze()
        series, threaded, inline = asyncio.run(measure_scrapes(metrics))
        print(
            f"{count:3} deployments, {series:5} series: a scrape makes the loop late by "
            f"{statistics.median(threaded):5.1f} ms (median of 20), {max(threaded):5.1f} ms (worst); "
            f"inline {statistics.median(inline):6.1f} ms"
        )


if __name__ == "__main__":
    main()
