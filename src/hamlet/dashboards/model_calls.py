"""The dashboards of calls: overview, and failures of model calls."""

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
    "Is it well, and if not, for whom?",
    VARIABLES,
    (
        PanelRow(
            "Now",
            (
                stat(
                    "Calls a minute",
                    "Ended calls. hamlet_requests_total",
                    "none",
                    f"60 * {rate(_REQUESTS, *ROUTE_SELECTORS)}",
                    decimals=0,
                ),
                stat(
                    "Failed",
                    "Part of the counted calls that failed or were shed. hamlet_requests_total",
                    "percentunit",
                    ratio(_bad_request_rate, _counted_request_rate),
                    warn=0.005,
                    bad=0.02,
                ),
                stat(
                    "Error budget left",
                    "Of 0.5 % in 30 days. slo:error_budget_remaining:ratio",
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
                    "Whole call p95",
                    "From arrival to last byte. " + _WHOLE,
                    "s",
                    quantile(0.95, _WHOLE, *ROUTE_SELECTORS),
                ),
                stat(
                    "In flight",
                    "Calls now. hamlet_calls_in_flight",
                    "none",
                    f"sum({metric_selector('hamlet_calls_in_flight', JOB)})",
                ),
                stat(
                    "Shed a minute",
                    "Calls refused for overload. hamlet_requests_total",
                    "none",
                    "60 * " + rate(_REQUESTS, *ROUTE_SELECTORS, 'outcome="overload"'),
                    warn=1,
                    bad=30,
                    decimals=0,
                ),
                stat(
                    "Pods ready",
                    "Processes that want traffic. hamlet_ready",
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
                    "Ended calls a second. hamlet_requests_total",
                    "reqps",
                    Query(rate(_REQUESTS, *ROUTE_SELECTORS, by="route"), "{{route}}"),
                ),
                graph(
                    "Failed by route",
                    "Part that failed or was shed. hamlet_requests_total",
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
                    "Ended calls a second. hamlet_requests_total",
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
                    "Whole call by route, p50",
                    "From arrival to last byte. " + _WHOLE,
                    "s",
                    Query(quantile(0.5, _WHOLE, *ROUTE_SELECTORS, by="route"), "{{route}}"),
                ),
                graph(
                    "Whole call by route, p95",
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
                    "Times faster than the budget allows; above 14.4 it pages. slo:burn_rate",
                    "none",
                    *(
                        Query(f'slo:current_burn_rate:ratio{{slo="availability",window="{w}"}}', w)
                        for w in ("5m", "1h", "6h")
                    ),
                ),
                graph(
                    "Burn rate, first token",
                    "Times faster than the budget allows. slo:burn_rate",
                    "none",
                    *(
                        Query(f'slo:current_burn_rate:ratio{{slo="first_token",window="{w}"}}', w)
                        for w in ("5m", "1h", "6h")
                    ),
                ),
                bars(
                    "Failing deployments",
                    "Failed attempts a minute. hamlet_attempts_total",
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
WITH_DEPLOYMENT = (VARIABLES[0], Variable("deployment", "hamlet_deployment_info"))

MODEL_CALLS = Dashboard(
    "hamlet-model-calls",
    "hamlet / AI model call failures",
    "Which upstream fails, how, and since when?",
    WITH_DEPLOYMENT,
    (
        PanelRow(
            "Attempts",
            (
                graph(
                    "Attempts by result",
                    "Upstream attempts a second. " + _ATTEMPTS,
                    "reqps",
                    Query(
                        rate(_ATTEMPTS, *_DEPLOYMENT_SELECTORS, by="result") + " > 0", "{{result}}"
                    ),
                    stack=True,
                    size=(12, 8),
                ),
                graph(
                    "Failures by class",
                    "Failed attempts a second. " + _ATTEMPTS,
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
                    "Failed part by deployment",
                    "Of the last minutes' attempts. " + _ATTEMPTS,
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
                        f"(increase({metric_selector(_ATTEMPTS, *_DEPLOYMENT_SELECTORS, _FAILED_RESULTS)}[1h])) > 0)"
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
                    "Failed part by provider",
                    "Of its attempts. " + _ATTEMPT,
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
                    "Attempts a second that took too long. hamlet_timeouts_total",
                    "reqps",
                    Query(
                        rate("hamlet_timeouts_total", *_DEPLOYMENT_SELECTORS, by="phase"),
                        "{{phase}}",
                    ),
                ),
                graph(
                    "Refused for being full",
                    "429 answers a second. " + _ATTEMPTS,
                    "reqps",
                    Query(
                        rate(
                            _ATTEMPTS,
                            *_DEPLOYMENT_SELECTORS,
                            'result="rate_limited"',
                            by="deployment",
                        )
                        + " > 0"
                        f" or topk(1, 0 * {rate(_ATTEMPTS, *_DEPLOYMENT_SELECTORS, by='deployment')})",
                        "{{deployment}}",
                    ),
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
                    "How long failing takes. " + _ATTEMPT,
                    "s",
                    Query(
                        quantile(0.95, _ATTEMPT, JOB, 'error_type!=""', by="provider"),
                        "{{provider}}",
                    ),
                    size=(12, 8),
                ),
                graph(
                    "Slowness",
                    "Times slower than expected. hamlet_deployment_slowness_ratio",
                    "none",
                    Query(
                        f"topk(8, avg by (deployment) "
                        f"({metric_selector('hamlet_deployment_slowness_ratio', *_DEPLOYMENT_SELECTORS)}))",
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
                    "Answers cut after their beginning",
                    "By who cut them, a second. hamlet_response_aborts_total",
                    "reqps",
                    Query(rate("hamlet_response_aborts_total", JOB, by="by"), "{{by}}"),
                    size=(12, 7),
                ),
                graph(
                    "Calls refused before any upstream was asked",
                    "By reason, a second. hamlet_rejected_total",
                    "reqps",
                    Query(rate("hamlet_rejected_total", JOB, by="reason"), "{{reason}}"),
                    size=(12, 7),
                ),
            ),
        ),
    ),
)
