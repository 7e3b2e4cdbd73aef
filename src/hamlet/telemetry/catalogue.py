"""Every metric as data: name, type, labels, help. No other metric can be created.

Names follow OpenTelemetry's GenAI conventions where there is one, translated to Prometheus:
https://github.com/open-telemetry/semantic-conventions-genai (docs/gen-ai/gen-ai-metrics.md).
Units are in the names, as Prometheus recommends: https://prometheus.io/docs/practices/naming/
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Literal

from hamlet.telemetry import labels as L
from hamlet.telemetry.histogram_buckets import (
    DURATION_SECONDS,
    LOOP_LAG_SECONDS,
    QUEUE_WAIT_SECONDS,
    TIME_PER_TOKEN_SECONDS,
    TOKENS,
)

MetricType = Literal["counter", "gauge", "histogram"]


@dataclass(frozen=True, slots=True)
class MetricSpec:
    """One metric. `values` has closed value sets for labels whose values differ by metric.

    `buckets` are upper bounds in the unit that the name ends with.
    """

    name: str
    type: MetricType
    help: str
    labels: tuple[str, ...] = ()
    buckets: tuple[float, ...] = ()
    values: Mapping[str, tuple[str, ...]] | None = None

    def closed_values(self, label: str) -> tuple[str, ...] | None:
        """The closed set of a label's values; None if they come from the configuration."""
        return (self.values or {}).get(label) or L.CLOSED_VALUES.get(label)


def _counter(name: str, text: str, *labels: str, **values: tuple[str, ...]) -> MetricSpec:
    return MetricSpec(name, "counter", text, labels, values=values)


def _gauge(name: str, text: str, *labels: str, **values: tuple[str, ...]) -> MetricSpec:
    return MetricSpec(name, "gauge", text, labels, values=values)


def _histogram(
    name: str, text: str, *labels: str, buckets: tuple[float, ...] = DURATION_SECONDS
) -> MetricSpec:
    return MetricSpec(name, "histogram", text, labels, buckets)


_CALLS = (
    _counter("hamlet_requests_total", "Model calls that ended", L.ROUTE, L.OUTCOME),
    _histogram(
        "hamlet_request_duration_seconds",
        "Time from a call's arrival to its last byte, including queueing and retries",
        L.ROUTE,
        L.STREAM,
    ),
    _histogram(
        "hamlet_time_to_first_token_seconds",
        "Time from a streamed call's arrival to its first content, including retries",
        L.ROUTE,
    ),
    _histogram(
        "hamlet_queue_wait_seconds",
        "Time that admitted calls waited for admission",
        buckets=QUEUE_WAIT_SECONDS,
    ),
    _gauge("hamlet_calls_in_flight", "Calls admitted and not yet ended"),
    _gauge("hamlet_calls_limit", "Limit of calls in flight (server.max_in_flight)"),
    _gauge("hamlet_queue_depth", "Calls waiting for admission"),
    _gauge("hamlet_tasks", "Tasks of the event loop; only calls add any"),
    _counter(
        "hamlet_rejected_total",
        "Calls rejected before any upstream attempt",
        L.ROUTE,
        L.REASON,
        reason=L.REJECTION_CODES,
    ),
    _counter(
        "hamlet_response_aborts_total", "Responses aborted after they had started", L.ROUTE, L.BY
    ),
    _counter(
        "hamlet_http_responses_total",
        "HTTP responses of the model and suggestion endpoints",
        L.PATH,
        L.CODE,
    ),
    _counter(
        "hamlet_unsupported_params_total",
        "Parameters dropped because a deployment does not support them",
        L.ROUTE,
    ),
)
_ATTEMPTS = (
    _histogram(
        "gen_ai_client_operation_duration_seconds",
        "Time of an upstream attempt until its commit point or failure",
        L.OPERATION,
        L.PROVIDER,
        L.MODEL,
        L.ERROR_TYPE,
    ),
    _histogram(
        "gen_ai_client_operation_time_to_first_chunk_seconds",
        "Time of a streamed upstream attempt until its first content",
        L.PROVIDER,
        L.MODEL,
    ),
    _histogram(
        "gen_ai_server_time_per_output_token_seconds",
        "Mean time between tokens, once per streamed answer",
        L.PROVIDER,
        L.MODEL,
        buckets=TIME_PER_TOKEN_SECONDS,
    ),
    _histogram(
        "gen_ai_client_token_usage",
        "Tokens per call",
        L.PROVIDER,
        L.MODEL,
        L.TOKEN_TYPE,
        buckets=TOKENS,
    ),
    _gauge(
        "hamlet_http_pool_connections",
        "Connections to a provider",
        L.PROVIDER,
        L.STATE,
        state=("busy", "idle", "opening"),
    ),
    _gauge("hamlet_http_pool_waiting", "Requests waiting for a connection", L.PROVIDER),
    _counter("hamlet_http_pool_waits_total", "Requests that waited for a connection", L.PROVIDER),
    _counter(
        "hamlet_http_pool_wait_seconds_total",
        "Total time that requests waited for a connection",
        L.PROVIDER,
    ),
    _counter("hamlet_attempts_total", "Upstream attempts that ended", L.DEPLOYMENT, L.RESULT),
    _counter("hamlet_timeouts_total", "Upstream timeouts", L.DEPLOYMENT, L.PHASE),
    _counter(
        "hamlet_connect_failures_total",
        "Upstream attempts that failed because no connection could be opened",
        L.DEPLOYMENT,
        L.CAUSE,
        cause=L.CONNECT_CAUSES,
    ),
    _counter(
        "hamlet_reattempts_total",
        "Attempts after a call's first: on the same deployment, on another after a failure, "
        "on another because the first was full, or hedging a slow one",
        L.ROUTE,
        L.KIND,
        kind=L.REATTEMPT_REASONS,
    ),
    _counter("hamlet_answers_total", "Calls answered, by the answering tier", L.ROUTE, L.TIER),
    _counter(
        "hamlet_avoidable_spills_total",
        "Answers by a lower tier while reserved capacity in a higher tier was healthy and free",
        L.ROUTE,
    ),
    _counter("hamlet_tokens_total", "Tokens, as billed", L.DEPLOYMENT, L.TOKEN_TYPE),
    _counter(
        "hamlet_cost_usd_total",
        "Cost in US dollars, estimated from model card prices",
        L.ROUTE,
        L.DEPLOYMENT,
    ),
)
_FLEET = (
    _gauge(
        "hamlet_deployment_info",
        "1; the labels describe a deployment",
        L.ROUTE,
        L.DEPLOYMENT,
        L.PROVIDER,
        L.MODEL,
        L.REGION,
        L.TIER,
        L.CAPACITY,
    ),
    _gauge("hamlet_deployment_fill_ratio", "Share of capacity in use", L.DEPLOYMENT),
    _gauge("hamlet_deployment_depth_seconds", "Learned depth of the capacity bucket", L.DEPLOYMENT),
    _gauge("hamlet_deployment_slowness_ratio", "Measured over expected latency", L.DEPLOYMENT),
    _gauge("hamlet_deployment_cooldown_seconds", "Time until it gets calls again", L.DEPLOYMENT),
    _gauge("hamlet_deployment_in_flight", "Attempts and responses in flight", L.DEPLOYMENT),
    _gauge("hamlet_deployment_limit", "Limit of attempts in flight", L.DEPLOYMENT),
    _gauge("hamlet_deployment_ptu", "Reserved units", L.DEPLOYMENT),
    _gauge(
        "hamlet_deployment_capacity_tokens_per_second",
        "Reserved input-equivalent tokens per second",
        L.DEPLOYMENT,
    ),
    _counter(
        "hamlet_deployment_charged_tokens_total",
        "Input-equivalent tokens charged to its capacity by this process",
        L.DEPLOYMENT,
    ),
    _gauge(
        "hamlet_rate_limit_remaining_ratio",
        "Share of the current minute's quota left, from the vendor's latest response headers",
        L.DEPLOYMENT,
        L.KIND,
        kind=("tokens", "requests"),
    ),
    _gauge(
        "hamlet_circuit_state",
        "1 for the current state of a deployment's circuit breaker",
        L.DEPLOYMENT,
        L.STATE,
        state=L.CIRCUIT_STATES,
    ),
    _counter("hamlet_circuit_changes_total", "State changes of circuit breakers", L.DEPLOYMENT),
    _gauge("hamlet_retry_budget_ratio", "Share of the retry budget left", L.ROUTE),
    _gauge("hamlet_hedge_budget_ratio", "Share of the hedge budget left", L.ROUTE),
    _gauge(
        "hamlet_fleet_shared_state",
        "1 for the current state: local (no Redis), shared, or away (Redis is unreachable)",
        L.STATE,
        state=("local", "shared", "away"),
    ),
)
_SUGGEST = (
    _counter(
        "hamlet_suggest_answers_total",
        "Sections of main screen answers, by origin",
        L.SURFACE,
        L.PART,
        L.TIER,
        tier=L.TIERS,
    ),
    _counter(
        "hamlet_suggest_degradations_total",
        "Sections that had to come from a lower tier",
        L.PART,
        L.ORIGIN,
        L.REASON,
        origin=("web", "llm"),
        reason=("deadline", "failed", "rejected", "overload"),
    ),
    _histogram(
        "hamlet_suggest_duration_seconds", "Time of a complete main screen answer", L.SURFACE
    ),
    _counter("hamlet_suggest_late_total", "Answers that exceeded their time budget", L.SURFACE),
    _counter(
        "hamlet_suggest_cache_total",
        "Cache lookups",
        L.PART,
        L.RESULT,
        result=("hit", "stale", "miss", "none"),
    ),
    _counter(
        "hamlet_suggest_events_total",
        "User events on suggestions, each counted once",
        L.PART,
        L.TIER,
        L.TYPE,
        tier=L.TIERS,
        type=("impression", "click", "submit", "dismiss", "hide", "feedback"),
    ),
    _gauge("hamlet_web_source_open", "1 while the circuit of a web source is open", L.SOURCE),
    _counter(
        "hamlet_web_searches_total",
        "Searches by web source, including the slower one of a hedged pair",
        L.SOURCE,
        L.OUTCOME,
        outcome=("ok", "failed"),
    ),
)
_PROCESS = (
    _histogram(
        "hamlet_event_loop_lag_seconds",
        "Delay of the event loop's wake-ups",
        buckets=LOOP_LAG_SECONDS,
    ),
    _gauge("hamlet_distress_level", "Overload level, 0 to 3: how much load is shed"),
    _gauge("hamlet_ready", "1 while the process accepts traffic"),
    _gauge("hamlet_draining", "1 while the process drains before it stops"),
    _gauge("hamlet_build_info", "1; the label is the version", L.VERSION),
    _counter(
        "hamlet_config_reloads_total",
        "Configuration reloads",
        L.OUTCOME,
        outcome=("ok", "refused"),
    ),
    _gauge("hamlet_config_last_reload_ok", "1 unless the last reload was refused"),
    _counter("hamlet_telemetry_errors_total", "Observers that raised"),
    _counter("hamlet_log_dropped_total", "Log lines dropped because the writer was behind"),
    _counter("hamlet_usage_dropped_total", "Usage records that could not be written"),
    _counter("hamlet_spans_dropped_total", "Spans that did not reach the collector"),
    _gauge("hamlet_series", "Series in the last exposition"),
    _gauge("hamlet_render_seconds", "Time the last exposition took"),
)
_CUTOVER = (
    _counter(
        "hamlet_cutover_requests_total",
        "Requests by assigned arm",
        L.FEATURE,
        L.ARM,
        L.OUTCOME,
        arm=("legacy", "new"),
        outcome=("ok", "failed", "rescued", "client_error", "cancelled"),
    ),
    _histogram(
        "hamlet_cutover_duration_seconds",
        "From the request to the last byte of its answer",
        L.FEATURE,
        L.ARM,
    ),
    _histogram(
        "hamlet_cutover_first_byte_seconds",
        "From the request to the first byte of its answer",
        L.FEATURE,
        L.ARM,
    ),
    _counter(
        "hamlet_cutover_rescues_total",
        "Requests answered by hamlet1 after the new arm failed",
        L.FEATURE,
        L.REASON,
    ),
    _counter(
        "hamlet_cutover_comparisons_total",
        "Comparisons of an answer with hamlet1's",
        L.FEATURE,
        L.KIND,
        L.VERDICT,
    ),
    _counter(
        "hamlet_cutover_shadow_dropped_total",
        "Sampled requests that were not shadowed",
        L.FEATURE,
        L.REASON,
    ),
    _counter(
        "hamlet_cutover_transitions_total", "Stage changes of features", L.FEATURE, L.TO, L.CAUSE
    ),
    _gauge("hamlet_cutover_state", "1 for the current stage of a feature", L.FEATURE, L.STATE),
    _gauge("hamlet_cutover_weight_ratio", "The new arm's share of users", L.FEATURE),
)
GROUPS: Final = {
    "Calls": _CALLS,
    "Upstream attempts": _ATTEMPTS,
    "Fleet": _FLEET,
    "Main screen": _SUGGEST,
    "Process": _PROCESS,
    "Cutover": _CUTOVER,
}
CATALOGUE: Final = {metric.name: metric for group in GROUPS.values() for metric in group}
