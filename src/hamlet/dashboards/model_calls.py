"""The dashboards of model calls: overview and failures."""

from __future__ import annotations

from hamlet.dashboards.panels import Dashboard, PanelRow, Query, Variable, bars, graph, stat, table
from hamlet.dashboards.promql import (
    BAD_OUTCOMES,
    COUNTED_OUTCOMES,
    metric_selector,
    quantile,
    rate,
    ratio,
)

JOB = 'job=~"$job"'
ROUTE = 'route=~"$route"'
DEPLOYMENT = 'deployment=~"$deployment"'
ROUTE_SELECTORS = (JOB, ROUTE)
VARIABLES = (
    Variable("job", "hamlet_build_info"),
    Variable("route", "hamlet_requests_total"),
)
_REQUESTS = "hamlet_requests_total"
_bad_request_rate = rate(_REQUESTS, *ROUTE_SELECTORS, BAD_OUTCOMES)
_counted_request_rate = rate(_REQUESTS, *ROUTE_SELECTORS, COUNTED_OUTCOMES)
_FIRST, _WHOLE = "hamlet_time_to_first_token_seconds", "hamlet_request_duration_seconds"
_ATTEMPTS = "hamlet_attempts_total"
_FAILED_RESULTS = 'result!~"ok|cancelled"'
_failed_attempt_rate = rate(_ATTEMPTS, JOB, _FAILED_RESULTS, by="deployment")
_attempt_rate = rate(_ATTEMPTS, JOB, by="deployment")

OVERVIEW = Dashboard(
    "hamlet-overview",
    "hamlet / overview",
    "Is the service healthy, and if not, which routes are affected?",
    VARIABLES,
    (
        PanelRow(
            "Now",
            (
                stat(
                    "Calls / min",
                    "Calls that ended. hamlet_requests_total",
                    "none",
                    f"60 * {rate(_REQUESTS, *ROUTE_SELECTORS)}",
                    decimals=0,
                ),
                stat(
                    "Failed",
                    "Share of counted calls that failed or were shed. hamlet_requests_total",
                    "percentunit",
                    ratio(_bad_request_rate, _counted_request_rate),
                    warn=0.005,
                    bad=0.02,
                ),
                stat(
                    "Error budget left",
                    "Remaining share of the 0.5 % allowed in 30 days. "
                    "slo:error_budget_remaining:ratio",
                    "percentunit",
                    'min(slo:error_budget_remaining:ratio{slo="availability"})',
                    warn=0.5,
                    bad=0.1,
                ),
                stat(
                    "First token p95",
                    "Streamed calls. " + _FIRST,
                    "s",
                    quantile(0.95, _FIRST, *ROUTE_SELECTORS),
                    warn=2,
                    bad=3,
                ),
                stat(
                    "Call duration p95",
                    "From arrival to last byte. " + _WHOLE,
                    "s",
                    quantile(0.95, _WHOLE, *ROUTE_SELECTORS),
                ),
                stat(
                    "In flight",
                    "Calls in flight now. hamlet_calls_in_flight",
                    "none",
                    f"sum({metric_selector('hamlet_calls_in_flight', JOB)})",
                ),
                stat(
                    "Shed / min",
                    "Calls rejected because of overload. hamlet_requests_total",
                    "none",
                    "60 * " + rate(_REQUESTS, *ROUTE_SELECTORS, 'outcome="overload"'),
                    warn=1,
                    bad=30,
                    decimals=0,
                ),
                stat(
                    "Pods ready",
                    "Processes that report ready. hamlet_ready",
                    "none",
                    f"sum({metric_selector('hamlet_ready', JOB)})",
                    warn=2,
                    bad=1,
                ),
            ),
        ),
        PanelRow(
            "Rate, errors, duration by route",
            (
                graph(
                    "Calls by route",
                    "Calls that ended, per second. hamlet_requests_total",
                    "reqps",
                    Query(rate(_REQUESTS, *ROUTE_SELECTORS, by="route"), "{{route}}"),
                ),
                graph(
                    "Failed by route",
                    "Share that failed or was shed. hamlet_requests_total",
                    "percentunit",
                    Query(
                        ratio(
                            rate(_REQUESTS, *ROUTE_SELECTORS, BAD_OUTCOMES, by="route"),
                            rate(_REQUESTS, *ROUTE_SELECTORS, COUNTED_OUTCOMES, by="route"),
                        ),
                        "{{route}}",
                    ),
                ),
                graph(
                    "Outcomes",
                    "Calls that ended, per second. hamlet_requests_total",
                    "reqps",
                    Query(rate(_REQUESTS, *ROUTE_SELECTORS, by="outcome"), "{{outcome}}"),
                    stack=True,
                ),
                graph(
                    "First token p95 by route",
                    "Streamed calls. " + _FIRST,
                    "s",
                    Query(quantile(0.95, _FIRST, *ROUTE_SELECTORS, by="route"), "{{route}}"),
                ),
                graph(
                    "Call duration by route, p50",
                    "From arrival to last byte. " + _WHOLE,
                    "s",
                    Query(quantile(0.5, _WHOLE, *ROUTE_SELECTORS, by="route"), "{{route}}"),
                ),
                graph(
                    "Call duration by route, p95",
                    "From arrival to last byte. " + _WHOLE,
                    "s",
                    Query(quantile(0.95, _WHOLE, *ROUTE_SELECTORS, by="route"), "{{route}}"),
                ),
            ),
        ),
        PanelRow(
            "Service levels",
            (
                graph(
                    "Burn rate, availability",
                    "Multiples of the rate that would just use up the budget; pages above "
                    "14.4. slo:current_burn_rate:ratio",
                    "none",
                    *(
                        Query(f'slo:current_burn_rate:ratio{{slo="availability",window="{w}"}}', w)
                        for w in ("5m", "1h", "6h")
                    ),
                ),
                graph(
                    "Burn rate, first token",
                    "Multiples of the rate that would just use up the budget. "
                    "slo:current_burn_rate:ratio",
                    "none",
                    *(
                        Query(f'slo:current_burn_rate:ratio{{slo="first_token",window="{w}"}}', w)
                        for w in ("5m", "1h", "6h")
                    ),
                ),
                bars(
                    "Failing deployments",
                    "Failed attempts per minute. hamlet_attempts_total",
                    "none",
                    Query(
                        f"topk(8, 60 * {_failed_attempt_rate} > 0) or topk(3, 0 * {_attempt_rate})",
                        "{{deployment}}",
                    ),
                    decimals=1,
                ),
            ),
        ),
    ),
)

_DEPLOYMENT_SELECTORS = (JOB, DEPLOYMENT)
_ATTEMPT = "gen_ai_client_operation_duration_seconds"
_FIRST_CHUNK = "gen_ai_client_operation_time_to_first_chunk_seconds"
_TPOT = "gen_ai_server_time_per_output_token_seconds"
_failed_attempts = metric_selector(_ATTEMPTS, *_DEPLOYMENT_SELECTORS, _FAILED_RESULTS)
_attempts_by_deployment = rate(_ATTEMPTS, *_DEPLOYMENT_SELECTORS, by="deployment")
_slowness = metric_selector("hamlet_deployment_slowness_ratio", *_DEPLOYMENT_SELECTORS)
WITH_DEPLOYMENT = (VARIABLES[0], Variable("deployment", "hamlet_deployment_info"))

MODEL_CALLS = Dashboard(
    "hamlet-model-calls",
    "hamlet / AI model call failures",
    "Which upstream is failing, how, and since when?",
    WITH_DEPLOYMENT,
    (
        PanelRow(
            "Attempts",
            (
                graph(
                    "Attempts by result",
                    "Upstream attempts per second. " + _ATTEMPTS,
                    "reqps",
                    Query(
                        rate(_ATTEMPTS, *_DEPLOYMENT_SELECTORS, by="result") + " > 0", "{{result}}"
                    ),
                    stack=True,
                    size=(12, 8),
                ),
                graph(
                    "Failures by class",
                    "Failed attempts per second. " + _ATTEMPTS,
                    "reqps",
                    Query(
                        rate(_ATTEMPTS, *_DEPLOYMENT_SELECTORS, _FAILED_RESULTS, by="result")
                        + " > 0",
                        "{{result}}",
                    ),
                    stack=True,
                    size=(12, 8),
                ),
                bars(
                    "Failure ratio by deployment",
                    "Share of recent attempts that failed. " + _ATTEMPTS,
                    "percentunit",
                    Query(
                        "topk(12, "
                        + ratio(
                            rate(
                                _ATTEMPTS, *_DEPLOYMENT_SELECTORS, _FAILED_RESULTS, by="deployment"
                            ),
                            rate(_ATTEMPTS, *_DEPLOYMENT_SELECTORS, by="deployment"),
                        )
                        + ")",
                        "{{deployment}}",
                    ),
                    warn=0.05,
                    bad=0.2,
                    maximum=1.0,
                    size=(10, 10),
                ),
                table(
                    "Failures by deployment and class",
                    "Failed attempts in the last hour. " + _ATTEMPTS,
                    "none",
                    Query(
                        "topk(25, sum by (deployment, result) "
                        f"(increase({_failed_attempts}[1h])) > 0)"
                    ),
                    size=(14, 10),
                    decimals=0,
                ),
            ),
        ),
        PanelRow(
            "Vendors",
            (
                graph(
                    "Failure ratio by provider",
                    "Share of the provider's attempts that failed. " + _ATTEMPT,
                    "percentunit",
                    Query(
                        ratio(
                            rate(_ATTEMPT + "_count", JOB, 'error_type!=""', by="provider"),
                            rate(_ATTEMPT + "_count", JOB, by="provider"),
                        ),
                        "{{provider}}",
                    ),
                ),
                graph(
                    "Timeouts by phase",
                    "Attempts that timed out, per second. hamlet_timeouts_total",
                    "reqps",
                    Query(
                        rate("hamlet_timeouts_total", *_DEPLOYMENT_SELECTORS, by="phase"),
                        "{{phase}}",
                    ),
                ),
                graph(
                    "Rate limited (429)",
                    "429 responses per second. " + _ATTEMPTS,
                    "reqps",
                    Query(
                        rate(
                            _ATTEMPTS,
                            *_DEPLOYMENT_SELECTORS,
                            'result="rate_limited"',
                            by="deployment",
                        )
                        + f" > 0 or topk(1, 0 * {_attempts_by_deployment})",
                        "{{deployment}}",
                    ),
                ),
                graph(
                    "Connection failures by cause",
                    "Attempts without a connection, per second. hamlet_connect_failures_total",
                    "reqps",
                    Query(
                        rate("hamlet_connect_failures_total", *_DEPLOYMENT_SELECTORS, by="cause"),
                        "{{cause}}",
                    ),
                    size=(24, 7),
                ),
            ),
        ),
        PanelRow(
            "Time",
            (
                graph(
                    "First chunk p50",
                    "Streamed attempts. " + _FIRST_CHUNK,
                    "s",
                    Query(
                        quantile(0.5, _FIRST_CHUNK, JOB, by="provider, model"),
                        "{{provider}} {{model}}",
                    ),
                ),
                graph(
                    "First chunk p95",
                    "Streamed attempts. " + _FIRST_CHUNK,
                    "s",
                    Query(
                        quantile(0.95, _FIRST_CHUNK, JOB, by="provider, model"),
                        "{{provider}} {{model}}",
                    ),
                ),
                graph(
                    "Time per token p50",
                    "Of streamed answers. " + _TPOT,
                    "s",
                    Query(
                        quantile(0.5, _TPOT, JOB, by="provider, model"), "{{provider}} {{model}}"
                    ),
                ),
                graph(
                    "Failed attempts p95",
                    "Time until a failed attempt ends. " + _ATTEMPT,
                    "s",
                    Query(
                        quantile(0.95, _ATTEMPT, JOB, 'error_type!=""', by="provider"),
                        "{{provider}}",
                    ),
                    size=(12, 8),
                ),
                graph(
                    "Slowness",
                    "Measured over expected latency. hamlet_deployment_slowness_ratio",
                    "none",
                    Query(
                        f"topk(8, avg by (deployment) ({_slowness}))",
                        "{{deployment}}",
                    ),
                    size=(12, 8),
                ),
            ),
        ),
        PanelRow(
            "Answers",
            (
                graph(
                    "Responses aborted mid-stream",
                    "By the side that aborted, per second. hamlet_response_aborts_total",
                    "reqps",
                    Query(rate("hamlet_response_aborts_total", JOB, by="by"), "{{by}}"),
                    size=(12, 7),
                ),
                graph(
                    "Calls rejected before any upstream attempt",
                    "By reason, per second. hamlet_rejected_total",
                    "reqps",
                    Query(rate("hamlet_rejected_total", JOB, by="reason"), "{{reason}}"),
                    size=(12, 7),
                ),
            ),
        ),
    ),
)
