"""Every metric as data: name, type, labels, help. What is not here cannot be made.

Names follow OpenTelemetry's GenAI conventions where there is one, translated to Prometheus:
https://github.com/open-telemetry/semantic-conventions-genai (docs/gen-ai/gen-ai-metrics.md).
Units are in the names, as Prometheus wants it: https://prometheus.io/docs/practices/naming/
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
    """One metric. `values` closes the sets of labels that mean another thing elsewhere."""

    name: str
    type: MetricType
    help: str
    labels: tuple[str, ...] = ()
    buckets: tuple[float, ...] = ()
    values: Mapping[str, tuple[str, ...]] | None = None

    def closed_values(self, label: str) -> tuple[str, ...] | None:
        """The closed set of a label's values; None if the configuration names them."""
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
    _counter("hamlet_requests_total", "Calls of models that ended", L.ROUTE, L.OUTCOME),
    _histogram(
        "hamlet_request_duration_seconds",
        "Calls from their arrival to the last byte, with waits and retries",
        L.ROUTE,
        L.STREAM,
    ),
    _histogram(
        "hamlet_time_to_first_token_seconds",
        "Streamed calls from their arrival to the first content, across retries",
        L.ROUTE,
    ),
    _histogram(
        "hamlet_queue_wait_seconds",
        "Calls' waits for one of hamlet's own places",
        buckets=QUEUE_WAIT_SECONDS,
    ),
    _gauge("hamlet_calls_in_flight", "Calls admitted and not ended"),
    _gauge("hamlet_calls_limit", "Calls that may be in flight (server.max_in_flight)"),
    _gauge("hamlet_queue_depth", "Calls that wait for one of hamlet's own places"),
    _gauge("hamlet_tasks", "Tasks of the event loop, which only calls may multiply"),
    _counter(
        "hamlet_rejected_total",
        "Calls refused before any upstream was asked",
        L.ROUTE,
        L.REASON,
        reason=L.REJECTION_CODES,
    ),
    _counter("hamlet_response_aborts_total", "Answers cut after their beginning", L.ROUTE, L.BY),
    _counter("hamlet_http_responses_total", "HTTP answers of the hot routes", L.PATH, L.CODE),
    _counter(
        "hamlet_unsupported_params_total",
        "Parameters left out because a deployment cannot take them",
        L.ROUTE,
    ),
)
_ATTEMPTS = (
    _histogram(
        "gen_ai_client_operation_duration_seconds",
        "Upstream attempts, up to their commit or failure",
        L.OPERATION,
        L.PROVIDER,
        L.MODEL,
        L.ERROR_TYPE,
    ),
    _histogram(
        "gen_ai_client_operation_time_to_first_chunk_seconds",
        "Streamed upstream attempts, up to their first content",
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
    _gauge("hamlet_http_pool_waiting", "Requests that wait for a connection", L.PROVIDER),
    _counter("hamlet_http_pool_waits_total", "Requests that waited for a connection", L.PROVIDER),
    _counter("hamlet_http_pool_wait_seconds_total", "Time they waited in all", L.PROVIDER),
    _counter("hamlet_attempts_total", "Upstream attempts that ended", L.DEPLOYMENT, L.RESULT),
    _counter("hamlet_timeouts_total", "Upstream timeouts", L.DEPLOYMENT, L.PHASE),
    _counter(
        "hamlet_reattempts_total",
        "Attempts beyond a call's first: same deployment, another after a failure, "
        "another since the first was full, another beside a late one",
        L.ROUTE,
        L.KIND,
        kind=L.REATTEMPT_REASONS,
    ),
    _counter("hamlet_answers_total", "Calls answered, by the tier that did", L.ROUTE, L.TIER),
    _counter(
        "hamlet_avoidable_spills_total",
        "Answers by a lower tier while reserved capacity above was well and had room",
        L.ROUTE,
    ),
    _counter("hamlet_tokens_total", "Tokens, as billed", L.DEPLOYMENT, L.TOKEN_TYPE),
    _counter(
        "hamlet_cost_usd_total",
        "Cost estimated by the cards' prices, US dollars",
        L.ROUTE,
        L.DEPLOYMENT,
    ),
)
_FLEET = (
    _gauge(
        "hamlet_deployment_info",
        "1; tells what a deployment is",
        L.ROUTE,
        L.DEPLOYMENT,
        L.PROVIDER,
        L.MODEL,
        L.REGION,
        L.TIER,
        L.CAPACITY,
    ),
    _gauge("hamlet_deployment_fill_ratio", "Part of its capacity in use", L.DEPLOYMENT),
    _gauge("hamlet_deployment_depth_seconds", "Learned depth of its bucket", L.DEPLOYMENT),
    _gauge("hamlet_deployment_slowness_ratio", "Times slower than expected", L.DEPLOYMENT),
    _gauge("hamlet_deployment_cooldown_seconds", "Time until it may be asked", L.DEPLOYMENT),
    _gauge("hamlet_deployment_in_flight", "Attempts and answers under way", L.DEPLOYMENT),
    _gauge("hamlet_deployment_limit", "Attempts that may be under way", L.DEPLOYMENT),
    _gauge("hamlet_deployment_ptu", "Reserved units", L.DEPLOYMENT),
    _gauge(
        "hamlet_deployment_capacity_tokens_per_second",
        "Reserved input-equivalent tokens a second",
        L.DEPLOYMENT,
    ),
    _counter(
        "hamlet_deployment_charged_tokens_total",
        "Input-equivalent tokens charged to its capacity by this process",
        L.DEPLOYMENT,
    ),
    _gauge(
        "hamlet_rate_limit_remaining_ratio",
        "Part of a minute's rights that its vendor's last answer, of this minute, left",
        L.DEPLOYMENT,
        L.KIND,
        kind=("tokens", "requests"),
    ),
    _gauge(
        "hamlet_circuit_state",
        "1 for the state of a deployment's breaker",
        L.DEPLOYMENT,
        L.STATE,
        state=L.CIRCUIT_STATES,
    ),
    _counter("hamlet_circuit_changes_total", "Openings and closings of breakers", L.DEPLOYMENT),
    _gauge("hamlet_retry_budget_ratio", "Part of the retry budget left", L.ROUTE),
    _gauge("hamlet_hedge_budget_ratio", "Part of the hedge budget left", L.ROUTE),
    _gauge(
        "hamlet_fleet_shared_state",
        "1 for what holds: local (no Redis), shared, or away (Redis is not to be had)",
        L.STATE,
        state=("local", "shared", "away"),
    ),
)
_SUGGEST = (
    _counter(
        "hamlet_suggest_answers_total",
        "Halves of main screen answers, by where they came from",
        L.SURFACE,
        L.PART,
        L.TIER,
        tier=L.TIERS,
    ),
    _counter(
        "hamlet_suggest_degradations_total",
        "Halves that had to come from a lower tier",
        L.PART,
        L.ORIGIN,
        L.REASON,
        origin=("web", "llm"),
        reason=("deadline", "failed", "rejected", "overload"),
    ),
    _histogram("hamlet_suggest_duration_seconds", "Main screen answers, whole", L.SURFACE),
    _counter("hamlet_suggest_late_total", "Answers that took longer than their budget", L.SURFACE),
    _counter(
        "hamlet_suggest_cache_total",
        "Looks into the cache",
        L.PART,
        L.RESULT,
        result=("hit", "stale", "miss", "none"),
    ),
    _counter(
        "hamlet_suggest_events_total",
        "What users did with what they were shown; each event once",
        L.PART,
        L.TIER,
        L.TYPE,
        tier=L.TIERS,
        type=("impression", "click", "submit", "dismiss", "hide", "feedback"),
    ),
    _gauge("hamlet_web_source_open", "1 while a web source is left alone", L.SOURCE),
    _counter(
        "hamlet_web_searches_total",
        "Searches by web source; one that came second in a race counts as well",
        L.SOURCE,
        L.OUTCOME,
        outcome=("ok", "failed"),
    ),
)
_PROCESS = (
    _histogram(
        "hamlet_event_loop_lag_seconds", "How late the loop wakes up", buckets=LOOP_LAG_SECONDS
    ),
    _gauge("hamlet_distress_level", "0 to 3: how much is shed"),
    _gauge("hamlet_ready", "1 while traffic is wanted"),
    _gauge("hamlet_draining", "1 while the process is about to stop"),
    _gauge("hamlet_build_info", "1; tells the version", L.VERSION),
    _counter(
        "hamlet_config_reloads_total",
        "Configuration reloads",
        L.OUTCOME,
        outcome=("ok", "refused"),
    ),
    _gauge("hamlet_config_last_reload_ok", "1 unless the last reload was refused"),
    _counter("hamlet_telemetry_errors_total", "Observers that raised"),
    _counter("hamlet_log_dropped_total", "Log lines dropped since their writer was behind"),
    _counter("hamlet_usage_dropped_total", "Billing records that could not be written"),
    _counter("hamlet_spans_dropped_total", "Spans that did not reach the collector"),
    _gauge("hamlet_series", "Series in the last exposition"),
    _gauge("hamlet_render_seconds", "Time the last exposition took"),
)
_CUTOVER = (
    _counter(
        "hamlet_cutover_requests_total",
        "Requests by the arm that was to answer",
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
        "Requests that hamlet1 answered as the new arm could not",
        L.FEATURE,
        L.REASON,
    ),
    _counter(
        "hamlet_cutover_comparisons_total",
        "Comparisons of either arm with hamlet1",
        L.FEATURE,
        L.KIND,
        L.VERDICT,
    ),
    _counter(
        "hamlet_cutover_shadow_dropped_total",
        "Sampled requests that were not tried",
        L.FEATURE,
        L.REASON,
    ),
    _counter("hamlet_cutover_transitions_total", "Moves of features", L.FEATURE, L.TO, L.CAUSE),
    _gauge("hamlet_cutover_state", "1 for where a feature stands", L.FEATURE, L.STATE),
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
