"""Counts the calls and attempts that the gateway reports, in the metrics of the catalogue."""

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
from hamlet.gateway import Attempt, CallRecord, Observer
from hamlet.registry import Deployment, Route
from hamlet.routing import SyncState
from hamlet.telemetry import labels as L
from hamlet.telemetry.exposition import Exposition, MetricSample

_STREAM_LABEL = {True: "true", False: "false"}

SpillCheck = Callable[[CallRecord, Attempt], bool]
"""Whether an attempt below the first tier could have stayed in a higher one."""


class Metrics(Observer):
    """An observer with its own registry, so that two apps in a process do not share series.

    `is_avoidable_spill` is called for each successful attempt below the first tier.
    """

    def __init__(self, is_avoidable_spill: SpillCheck = lambda record, attempt: False) -> None:
        self.exposition = Exposition()
        self.registry = self.exposition.registry
        counter, histogram = self.exposition.counter, self.exposition.histogram
        self._requests = counter("hamlet_requests_total")
        self._duration = histogram("hamlet_request_duration_seconds")
        self._first_token = histogram("hamlet_time_to_first_token_seconds")
        self._queue_wait = histogram("hamlet_queue_wait_seconds")
        self._rejected = counter("hamlet_rejected_total")
        self._aborts = counter("hamlet_response_aborts_total")
        self._http_responses = counter("hamlet_http_responses_total")
        self._unsupported_params = counter("hamlet_unsupported_params_total")
        self._attempt_duration = histogram("gen_ai_client_operation_duration_seconds")
        self._first_chunk = histogram("gen_ai_client_operation_time_to_first_chunk_seconds")
        self._time_per_token = histogram("gen_ai_server_time_per_output_token_seconds")
        self._token_usage = histogram("gen_ai_client_token_usage")
        self._attempts = counter("hamlet_attempts_total")
        self._timeouts = counter("hamlet_timeouts_total")
        self._connect_failures = counter("hamlet_connect_failures_total")
        self._reattempts = counter("hamlet_reattempts_total")
        self._answers = counter("hamlet_answers_total")
        self._spills = counter("hamlet_avoidable_spills_total")
        self._tokens = counter("hamlet_tokens_total")
        self._cost_usd = counter("hamlet_cost_usd_total")
        self._loop_lag = histogram("hamlet_event_loop_lag_seconds")
        self._reloads = counter("hamlet_config_reloads_total")
        self._is_avoidable_spill = is_avoidable_spill
        self._in_flight, self._last_reload_ok, self._shared_state = 0, True, "local"
        for collector in (ProcessCollector, PlatformCollector, GCCollector):
            collector(registry=self.registry)
        self.exposition.add_source(self._read_gauges)
        for outcome in ("ok", "refused"):
            self._reloads.init_series((outcome,))
        self._loop_lag.init_series(())

    def init_series(self, routes: Mapping[str, Route]) -> None:
        """Expose the series of a configuration with 0, so that their first count makes a rate."""
        for name in (*routes, "unknown"):
            for outcome in L.OUTCOMES:
                self._requests.init_series((name, outcome))
            for kind in L.REATTEMPT_REASONS:
                self._reattempts.init_series((name, kind))
            for by in ("client", "upstream", "server"):
                self._aborts.init_series((name, by))
            for reason in ("busy", "draining", "no_deployment", "rate_limited"):
                self._rejected.init_series((name, reason))
            self._spills.init_series((name,))
        for route in routes.values():
            for i, tier in enumerate(route.tiers, 1):
                self._answers.init_series((route.name, str(i)))
                for deployment in tier:
                    self._init_deployment_series(route, deployment)

    def _init_deployment_series(self, route: Route, deployment: Deployment) -> None:
        for result in L.RESULTS:
            self._attempts.init_series((deployment.id, result))
        for phase in ("connect", "open", "stream"):
            self._timeouts.init_series((deployment.id, phase))
        for cause in L.CONNECT_CAUSES:
            self._connect_failures.init_series((deployment.id, cause))
        for kind in L.TOKEN_TYPES:
            self._tokens.init_series((deployment.id, kind))
        self._cost_usd.init_series((route.name, deployment.id))

    # -- the gateway's observer

    def on_start(self, record: CallRecord) -> None:
        self._in_flight += 1
        self._queue_wait.observe((), record.queue_s)

    def on_attempt(self, record: CallRecord, attempt: Attempt) -> None:
        deployment, error = attempt.deployment, attempt.error
        provider, model = deployment.provider.name, deployment.model
        result, kind = "cancelled" if attempt.cancelled else "ok", ""
        if error is not None:
            result = error.code if error.code in L.FAILURE_CODES else L.FAILURE_CODES[0]
            kind = "timeout" if isinstance(error, UpstreamTimeout) else "error"
            if kind == "timeout":
                self._timeouts.inc((deployment.id, error.phase))
            if error.cause is not None:
                cause = error.cause if error.cause in L.CONNECT_CAUSES else L.OTHER_CONNECT_CAUSE
                self._connect_failures.inc((deployment.id, cause))
        self._attempts.inc((deployment.id, result))
        labels = (record.operation, provider, model, kind)
        self._attempt_duration.observe(labels, attempt.duration_s, record.trace_id)
        if result == "ok" and record.stream:
            self._first_chunk.observe((provider, model), attempt.duration_s, record.trace_id)
        if attempt.reason != "first":
            self._reattempts.inc((record.route, attempt.reason))
        if result == "ok" and attempt.tier and self._is_avoidable_spill(record, attempt):
            self._spills.inc((record.route,))

    def on_end(self, record: CallRecord) -> None:
        route, error = record.route, record.error
        if record.admitted:
            self._in_flight -= 1
        self._requests.inc((route, call_outcome(record)))
        if error is not None and not isinstance(error, ProviderError):
            self._rejected.inc((route, error.code))
        self._duration.observe(
            (route, _STREAM_LABEL[record.stream]), record.duration_s, record.trace_id
        )
        if record.first_token_s is not None or record.finish_reason is not None:
            self._count_chat_answer(record)
        elif record.outcome == "ok":
            self._answers.inc((route, str(record.tier + 1)))
        if record.deployment is not None and (record.usage.input_tokens is not None):
            self._count_usage(record, record.deployment)
        if record.warnings:
            self._unsupported_params.inc((route,), len(record.warnings))

    def _count_chat_answer(self, record: CallRecord) -> None:
        """Count a chat response that has started, complete or aborted."""
        route, first_s = record.route, record.first_token_s
        if record.stream and first_s is not None:
            self._first_token.observe((route,), first_s, record.trace_id)
        if record.outcome == "ok":
            self._answers.inc((route, str(record.tier + 1)))
        elif record.outcome == "cancelled":
            self._aborts.inc((route, "client"))
        else:
            aborted_by = "upstream" if isinstance(record.error, ProviderError) else "server"
            self._aborts.inc((route, aborted_by))
        written = record.usage.output_tokens
        if record.stream and first_s is not None and written and written > 1 and record.deployment:
            labels = (record.deployment.provider.name, record.deployment.model)
            self._time_per_token.observe(labels, (record.duration_s - first_s) / (written - 1))

    def _count_usage(self, record: CallRecord, deployment: Deployment) -> None:
        usage, id_, count = record.usage, deployment.id, self._tokens.inc
        provider, model = deployment.provider.name, deployment.model
        if read := usage.input_tokens:
            count((id_, "input"), read)
            self._token_usage.observe((provider, model, "input"), read)
        if written := usage.output_tokens:
            count((id_, "output"), written)
            self._token_usage.observe((provider, model, "output"), written)
        if usage.cache_read_tokens:
            count((id_, "cached_input"), usage.cache_read_tokens)
        if usage.cache_write_tokens:
            count((id_, "cache_write"), usage.cache_write_tokens)
        if usage.reasoning_tokens:
            count((id_, "reasoning"), usage.reasoning_tokens)
        if spent := cost_usd(deployment, usage):
            self._cost_usd.inc((record.route, id_), spent)

    # -- other sources

    def count_http_response(self, path: str, code: int) -> None:
        """Count an HTTP response by path template and status code."""
        self._http_responses.inc((path, str(code)))

    def observe_loop_lag(self, seconds: float) -> None:
        """Record how late the event loop woke up. `seconds` may be negative, which counts as 0."""
        self._loop_lag.observe((), max(0.0, seconds))

    def count_reload(self, outcome: str) -> None:
        """Count a reload: "ok" or "refused"."""
        self._reloads.inc((outcome,))
        self._last_reload_ok = outcome == "ok"

    def set_shared_state(self, state: SyncState) -> None:
        """Set whether deployment state is shared with other processes."""
        self._shared_state = state

    async def render(self) -> bytes:
        """The current exposition text, bypassing its cache."""
        return (await self.exposition.render("", fresh=True))[0]

    def _read_gauges(self) -> list[MetricSample]:
        return [
            ("hamlet_calls_in_flight", (), self._in_flight),
            ("hamlet_config_last_reload_ok", (), self._last_reload_ok),
            *(
                ("hamlet_fleet_shared_state", (state,), state == self._shared_state)
                for state in get_args(SyncState)
            ),
        ]


def call_outcome(record: CallRecord) -> str:
    """The value of a call's label `outcome`; docs/runbook.md says what counts against the SLO."""
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
    """US dollars of the tokens by the model card's price; 0 without a price."""
    price = deployment.card.price
    if price is None:
        return 0.0
    input_tokens, output_tokens = usage.input_tokens or 0, usage.output_tokens or 0
    cached = usage.cache_read_tokens or 0
    cached_price = price.input if price.cached_input is None else price.cached_input
    uncached_tokens = max(0, input_tokens - cached)
    return (
        uncached_tokens * price.input + cached * cached_price + output_tokens * price.output
    ) / 1e6
