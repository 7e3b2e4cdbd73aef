"""Prometheus metrics, named after OpenTelemetry's GenAI conventions where there is one.

https://opentelemetry.io/docs/specs/semconv/gen-ai/gen-ai-metrics/
"""

from __future__ import annotations

import asyncio
from typing import get_args

from prometheus_client import CollectorRegistry, Counter, Gauge, generate_latest

from hamlet.fleet import State
from hamlet.gateway import Attempt, Record
from hamlet.telemetry import labels as L
from hamlet.telemetry.series import Histogram

_SECONDS = (0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.28, 2.56, 5.12, 10.24, 20.48, 40.96, 81.92)
_FIRST = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0)
_TOKENS = (1, 4, 16, 64, 256, 1024, 4096, 16384, 65536, 262144, 1048576)


class Metrics:
    """Counts what the gateway tells. Has a registry of its own: two apps do not mix."""

    def __init__(self) -> None:
        self.registry = registry = CollectorRegistry()
        self._duration = Histogram(
            "gen_ai_server_request_duration_seconds",
            "Whole calls, from admission to the end of the answer",
            (L.OPERATION, L.ROUTE, L.OUTCOME, L.STREAM),
            buckets=_SECONDS,
            registry=registry,
        )
        self._first_token = Histogram(
            "gen_ai_server_time_to_first_token_seconds",
            "From admission to the first content of a streamed answer",
            (L.ROUTE,),
            buckets=_FIRST,
            registry=registry,
        )
        self._attempt = Histogram(
            "gen_ai_client_operation_duration_seconds",
            "Upstream attempts, up to their commit or failure",
            (L.OPERATION, L.PROVIDER, L.DEPLOYMENT, L.OUTCOME),
            buckets=_SECONDS,
            registry=registry,
        )
        self._tokens = Histogram(
            "gen_ai_client_token_usage",
            "Tokens per call",
            (L.OPERATION, L.ROUTE, L.TOKEN_TYPE),
            buckets=_TOKENS,
            registry=registry,
        )
        self._in_flight = 0
        Gauge(
            "hamlet_calls_in_flight", "Calls admitted and not ended", registry=registry
        ).set_function(lambda: self._in_flight)
        self._failovers = Counter(
            "hamlet_failovers", "Attempts beyond a call's first", (L.ROUTE,), registry=registry
        )
        self._warnings = Counter(
            "hamlet_unsupported_params",
            "Parameters left out because a deployment cannot take them",
            (L.ROUTE,),
            registry=registry,
        )
        self._reloads = Counter(
            "hamlet_config_reloads", "Configuration reloads", (L.OUTCOME,), registry=registry
        )
        self._shared = _sharing(registry)
        self.sharing("local")

    def on_start(self, record: Record) -> None:
        self._in_flight += 1

    def on_attempt(self, record: Record, attempt: Attempt) -> None:
        deployment = attempt.deployment
        outcome = "cancelled" if attempt.cancelled else "ok"
        if attempt.error is not None:
            outcome = attempt.error.code
        self._attempt.observe(
            (record.operation, deployment.provider.name, deployment.id, outcome),
            attempt.duration_s,
        )
        if record.attempts > 1:
            self._failovers.labels(record.route).inc()

    def on_end(self, record: Record) -> None:
        if record.admitted:
            self._in_flight -= 1
        outcome = record.error.code if record.error else record.outcome
        stream = "true" if record.stream else "false"
        self._duration.observe((record.operation, record.route, outcome, stream), record.duration_s)
        if record.stream and record.first_token_s is not None:
            self._first_token.observe((record.route,), record.first_token_s)
        counts = (("input", record.usage.input_tokens), ("output", record.usage.output_tokens))
        for kind, count in counts:
            if count is not None:
                self._tokens.observe((record.operation, record.route, kind), count)
        if record.warnings:
            self._warnings.labels(record.route).inc(len(record.warnings))

    def reloaded(self, outcome: str) -> None:
        """Count a reload: "ok" or "refused"."""
        self._reloads.labels(outcome).inc()

    def sharing(self, state: State) -> None:
        """Whether what is known of deployments is shared with other processes."""
        for each in get_args(State):
            self._shared.labels(each).set(each == state)

    async def render(self) -> bytes:
        """The exposition text, made in a thread: many series take milliseconds."""
        return await asyncio.to_thread(generate_latest, self.registry)


def _sharing(registry: CollectorRegistry) -> Gauge:
    return Gauge(
        "hamlet_fleet_shared_state",
        "1 for what holds: local (no Redis), shared, or away (Redis is not to be had)",
        (L.STATE,),
        registry=registry,
    )
