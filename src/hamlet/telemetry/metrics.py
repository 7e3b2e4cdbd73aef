"""Counts what the gateway tells. What may be counted stands in the catalogue."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import get_args

from prometheus_client import GCCollector, PlatformCollector, ProcessCollector

from hamlet.core import Usage
from hamlet.core.errors import (
    Busy,
    Draining,
    HamletError,
    InvalidRequest,
    LimitExceeded,
    NoDeployment,
    ProviderError,
    Saturated,
    UpstreamTimeout,
)
from hamlet.gateway import Attempt, Observer, Record
from hamlet.registry import Deployment, Route
from hamlet.routing import State
from hamlet.telemetry import labels as L
from hamlet.telemetry.exposition import Exposition, Row

_STREAM = {True: "true", False: "false"}
_ANSWERS = ("chat", "embeddings")


class Metrics(Observer):
    """An observer with a registry of its own: two apps do not mix.

    `avoidable` tells whether an attempt below the first tier could have stayed above.
    """

    def __init__(self) -> None:
        self.exposition = Exposition()
        self.registry = self.exposition.registry
        counter, histogram = self.exposition.counter, self.exposition.histogram
        self._requests = counter("hamlet_requests_total")
        self._duration = histogram("hamlet_request_duration_seconds")
        self._first_token = histogram("hamlet_time_to_first_token_seconds")
        self._queue = histogram("hamlet_queue_wait_seconds")
        self._rejected = counter("hamlet_rejected_total")
        self._aborts = counter("hamlet_response_aborts_total")
        self._http = counter("hamlet_http_responses_total")
        self._unsupported = counter("hamlet_unsupported_params_total")
        self._attempt = histogram("gen_ai_client_operation_duration_seconds")
        self._first_chunk = histogram("gen_ai_client_operation_time_to_first_chunk_seconds")
        self._per_token = histogram("gen_ai_server_time_per_output_token_seconds")
        self._usage = histogram("gen_ai_client_token_usage")
        self._attempts = counter("hamlet_attempts_total")
        self._timeouts = counter("hamlet_timeouts_total")
        self._reattempts = counter("hamlet_reattempts_total")
        self._answers = counter("hamlet_answers_total")
        self._spills = counter("hamlet_avoidable_spills_total")
        self._tokens = counter("hamlet_tokens_total")
        self._cost = counter("hamlet_cost_usd_total")
        self._lag = histogram("hamlet_event_loop_lag_seconds")
        self._reloads = counter("hamlet_config_reloads_total")
        self.avoidable: Callable[[Record, Attempt], bool] = lambda record, attempt: False
        self._in_flight, self._reload_ok, self._shared = 0, True, "local"
        for collector in (ProcessCollector, PlatformCollector, GCCollector):
            collector(registry=self.registry)
        self.exposition.reads(self._rows)
        for outcome in ("ok", "refused"):
            self._reloads.zero((outcome,))
        self._lag.zero(())

    def prepare(self, routes: Mapping[str, Route]) -> None:
        """Show the series of a configuration before anything is counted in them."""
        for name in (*routes, "unknown"):
            for outcome in L.OUTCOMES:
                self._requests.zero((name, outcome))
            for way in L.REATTEMPTS:
                self._reattempts.zero((name, way))
            for by in ("client", "upstream", "server"):
                self._aborts.zero((name, by))
            for reason in ("busy", "draining", "no_deployment", "rate_limited"):
                self._rejected.zero((name, reason))
            self._spills.zero((name,))
        for route in routes.values():
            for i, tier in enumerate(route.tiers, 1):
                self._answers.zero((route.name, str(i)))
                for deployment in tier:
                    self._prepare(route, deployment)

    def _prepare(self, route: Route, deployment: Deployment) -> None:
        for result in L.RESULTS:
            self._attempts.zero((deployment.id, result))
        for phase in ("connect", "open", "stream"):
            self._timeouts.zero((deployment.id, phase))
        for kind in L.TOKEN_TYPES:
            self._tokens.zero((deployment.id, kind))
        self._cost.zero((route.name, deployment.id))

    # -- the gateway's observer

    def on_start(self, record: Record) -> None:
        self._in_flight += 1
        self._queue.observe((), record.queue_s)

    def on_attempt(self, record: Record, attempt: Attempt) -> None:
        deployment, error = attempt.deployment, attempt.error
        provider, model = deployment.provider.name, deployment.model
        result, kind = "cancelled" if attempt.cancelled else "ok", ""
        if error is not None:
            result = error.code if error.code in L.FAILURES else L.FAILURES[0]
            kind = "timeout" if isinstance(error, UpstreamTimeout) else "error"
            if kind == "timeout":
                self._timeouts.count((deployment.id, error.phase))
        self._attempts.count((deployment.id, result))
        labels = (record.operation, provider, model, kind)
        self._attempt.observe(labels, attempt.duration_s, record.trace_id)
        if result == "ok" and record.stream:
            self._first_chunk.observe((provider, model), attempt.duration_s, record.trace_id)
        if attempt.way != "first":
            self._reattempts.count((record.route, attempt.way))
        if result == "ok" and attempt.tier and self.avoidable(record, attempt):
            self._spills.count((record.route,))

    def on_end(self, record: Record) -> None:
        route, error = record.route, record.error
        if record.admitted:
            self._in_flight -= 1
        self._requests.count((route, outcome_of(record)))
        if error is not None and not isinstance(error, ProviderError):
            self._rejected.count((route, error.code))
        self._duration.observe((route, _STREAM[record.stream]), record.duration_s, record.trace_id)
        if record.first_token_s is not None or record.finish is not None:
            self._answered(record)
        elif record.outcome == "ok":
            self._answers.count((route, str(record.tier + 1)))
        if record.deployment is not None and (record.usage.input_tokens is not None):
            self._billed(record, record.deployment)
        if record.warnings:
            self._unsupported.count((route,), len(record.warnings))

    def _answered(self, record: Record) -> None:
        """A chat answer that had begun, whole or cut."""
        route, first_s = record.route, record.first_token_s
        if record.stream and first_s is not None:
            self._first_token.observe((route,), first_s, record.trace_id)
        if record.outcome == "ok":
            self._answers.count((route, str(record.tier + 1)))
        elif record.outcome == "cancelled":
            self._aborts.count((route, "client"))
        else:
            by = "upstream" if isinstance(record.error, ProviderError) else "server"
            self._aborts.count((route, by))
        written = record.usage.output_tokens
        if record.stream and first_s is not None and written and written > 1 and record.deployment:
            labels = (record.deployment.provider.name, record.deployment.model)
            self._per_token.observe(labels, (record.duration_s - first_s) / (written - 1))

    def _billed(self, record: Record, deployment: Deployment) -> None:
        usage, id_, count = record.usage, deployment.id, self._tokens.count
        provider, model = deployment.provider.name, deployment.model
        if read := usage.input_tokens:
            count((id_, "input"), read)
            self._usage.observe((provider, model, "input"), read)
        if written := usage.output_tokens:
            count((id_, "output"), written)
            self._usage.observe((provider, model, "output"), written)
        if usage.cache_read_tokens:
            count((id_, "cached_input"), usage.cache_read_tokens)
        if usage.cache_write_tokens:
            count((id_, "cache_write"), usage.cache_write_tokens)
        if usage.reasoning_tokens:
            count((id_, "reasoning"), usage.reasoning_tokens)
        if spent := cost_usd(deployment, usage):
            self._cost.count((record.route, id_), spent)

    # -- what others tell

    def answered_http(self, path: str, code: int) -> None:
        """An HTTP answer to the route of that path template."""
        self._http.count((path, str(code)))

    def lagged(self, seconds: float) -> None:
        """How late the event loop woke up."""
        self._lag.observe((), max(0.0, seconds))

    def reloaded(self, outcome: str) -> None:
        """Count a reload: "ok" or "refused"."""
        self._reloads.count((outcome,))
        self._reload_ok = outcome == "ok"

    def sharing(self, state: State) -> None:
        """Whether what is known of deployments is shared with other processes."""
        self._shared = state

    async def render(self) -> bytes:
        """The exposition text of this moment."""
        return (await self.exposition.render("", fresh=True))[0]

    def _rows(self) -> list[Row]:
        return [
            ("hamlet_calls_in_flight", (), self._in_flight),
            ("hamlet_config_last_reload_ok", (), self._reload_ok),
            *(
                ("hamlet_fleet_shared_state", (state,), state == self._shared)
                for state in get_args(State)
            ),
        ]


def outcome_of(record: Record) -> str:
    """What the call counts as: see the service levels in docs/runbook.md."""
    error: HamletError | None = record.error
    if error is None:
        if record.outcome == "ok" and record.deployment is not None and record.deployment.local:
            return "degraded"
        return record.outcome
    if isinstance(error, (Busy, Draining, Saturated)):
        return "overload"
    if isinstance(error, LimitExceeded):
        return "rejected"
    if isinstance(error, NoDeployment):
        return "failed"
    if isinstance(error, ProviderError) and not isinstance(error, InvalidRequest):
        return "failed"
    return "client_error"


def cost_usd(deployment: Deployment, usage: Usage) -> float:
    """What the tokens cost by the card's price; 0 if there is none."""
    price = deployment.card.price
    if price is None:
        return 0.0
    read, written = usage.input_tokens or 0, usage.output_tokens or 0
    cached = usage.cache_read_tokens or 0
    cheaper = price.input if price.cached_input is None else price.cached_input
    fresh = max(0, read - cached)
    return (fresh * price.input + cached * cheaper + written * price.output) / 1e6
