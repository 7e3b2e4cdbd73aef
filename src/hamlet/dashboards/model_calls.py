"""The dashboards of calls: overview, and failures of model calls."""

from __future__ import annotations

from hamlet.dashboards.panels import Dashboard, Query, Row, Variable, bars, graph, stat, table
from hamlet.dashboards.promql import BAD, COUNTED, metric, quantile, rate, ratio

JOB = 'job=~"$job"'
ROUTE = 'route=~"$route"'
DEPLOYMENT = 'deployment=~"$deployment"'
OF = (JOB, ROUTE)
VARIABLES = (
    Variable("job", "hamlet_build_info"),
    Variable("route", "hamlet_requests_total"),
)
_REQUESTS = "hamlet_requests_total"
_failed = rate(_REQUESTS, *OF, BAD)
_counted = rate(_REQUESTS, *OF, COUNTED)
_FIRST, _WHOLE = "hamlet_time_to_first_token_seconds", "hamlet_request_duration_seconds"
_ATTEMPTS = "hamlet_attempts_total"
_ERRORS = 'result!~"ok|cancelled"'
_failing = rate(_ATTEMPTS, JOB, _ERRORS, by="deployment")
_attempting = rate(_ATTEMPTS, JOB, by="deployment")

OVERVIEW = Dashboard(
    "hamlet-overview",
    "hamlet / overview",
    "Is it well, and if not, for whom?",
    VARIABLES,
    (
        Row(
            "Now",
            (
                stat(
                    "Calls a minute",
                    "Ended calls. hamlet_requests_total",
                    "none",
                    f"60 * {rate(_REQUESTS, *OF)}",
                    decimals=0,
                ),
                stat(
                    "Failed",
                    "Part of the counted calls that failed or were shed. hamlet_requests_total",
                    "percentunit",
                    ratio(_failed, _counted),
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
                    quantile(0.95, _FIRST, *OF),
                    warn=2,
                    bad=3,
                ),
                stat(
                    "Whole call p95",
                    "From arrival to last byte. " + _WHOLE,
                    "s",
                    quantile(0.95, _WHOLE, *OF),
                ),
                stat(
                    "In flight",
                    "Calls now. hamlet_calls_in_flight",
                    "none",
                    f"sum({metric('hamlet_calls_in_flight', JOB)})",
                ),
                stat(
                    "Shed a minute",
                    "Calls refused for overload. hamlet_requests_total",
                    "none",
                    "60 * " + rate(_REQUESTS, *OF, 'outcome="overload"'),
                    warn=1,
                    bad=30,
                    decimals=0,
                ),
                stat(
                    "Pods ready",
                    "Processes that want traffic. hamlet_ready",
                    "none",
                    f"sum({metric('hamlet_ready', JOB)})",
                    warn=2,
                    bad=1,
                ),
            ),
        ),
        Row(
            "Rate, errors, duration by route",
            (
                graph(
                    "Calls by route",
                    "Ended calls a second. hamlet_requests_total",
                    "reqps",
                    Query(rate(_REQUESTS, *OF, by="route"), "{{route}}"),
                ),
                graph(
                    "Failed by route",
                    "Part that failed or was shed. hamlet_requests_total",
                    "percentunit",
                    Query(
                        ratio(
                            rate(_REQUESTS, *OF, BAD, by="route"),
                            rate(_REQUESTS, *OF, COUNTED, by="route"),
                        ),
                        "{{route}}",
                    ),
                ),
                graph(
                    "Outcomes",
                    "Ended calls a second. hamlet_requests_total",
                    "reqps",
                    Query(rate(_REQUESTS, *OF, by="outcome"), "{{outcome}}"),
                    stack=True,
                ),
                graph(
                    "First token p95 by route",
                    "Streamed calls. " + _FIRST,
                    "s",
                    Query(quantile(0.95, _FIRST, *OF, by="route"), "{{route}}"),
                ),
                graph(
                    "Whole call by route, p50",
                    "From arrival to last byte. " + _WHOLE,
                    "s",
                    Query(quantile(0.5, _WHOLE, *OF, by="route"), "{{route}}"),
                ),
                graph(
                    "Whole call by route, p95",
                    "From arrival to last byte. " + _WHOLE,
                    "s",
                    Query(quantile(0.95, _WHOLE, *OF, by="route"), "{{route}}"),
                ),
            ),
        ),
        Row(
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
                        f"topk(8, 60 * {_failing} > 0) or topk(3, 0 * {_attempting})",
                        "{{deployment}}",
                    ),
                    decimals=1,
                ),
            ),
        ),
    ),
)

_AT = (JOB, DEPLOYMENT)
_ATTEMPT = "gen_ai_client_operation_duration_seconds"
_CHUNK = "gen_ai_client_operation_time_to_first_chunk_seconds"
_TPOT = "gen_ai_server_time_per_output_token_seconds"
WITH_DEPLOYMENT = (VARIABLES[0], Variable("deployment", "hamlet_deployment_info"))

MODEL_CALLS = Dashboard(
    "hamlet-model-calls",
    "hamlet / AI model call failures",
    "Which upstream fails, how, and since when?",
    WITH_DEPLOYMENT,
    (
        Row(
            "Attempts",
            (
                graph(
                    "Attempts by result",
                    "Upstream attempts a second. " + _ATTEMPTS,
                    "reqps",
                    Query(rate(_ATTEMPTS, *_AT, by="result") + " > 0", "{{result}}"),
                    stack=True,
                    size=(12, 8),
                ),
                graph(
                    "Failures by class",
                    "Failed attempts a second. " + _ATTEMPTS,
                    "reqps",
                    Query(rate(_ATTEMPTS, *_AT, _ERRORS, by="result") + " > 0", "{{result}}"),
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
                            rate(_ATTEMPTS, *_AT, _ERRORS, by="deployment"),
                            rate(_ATTEMPTS, *_AT, by="deployment"),
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
                        f"(increase({metric(_ATTEMPTS, *_AT, _ERRORS)}[1h])) > 0)"
                    ),
                    size=(14, 10),
                    decimals=0,
                ),
            ),
        ),
        Row(
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
                    Query(rate("hamlet_timeouts_total", *_AT, by="phase"), "{{phase}}"),
                ),
                graph(
                    "Refused for being full",
                    "429 answers a second. " + _ATTEMPTS,
                    "reqps",
                    Query(
                        rate(_ATTEMPTS, *_AT, 'result="rate_limited"', by="deployment") + " > 0"
                        f" or topk(1, 0 * {rate(_ATTEMPTS, *_AT, by='deployment')})",
                        "{{deployment}}",
                    ),
                ),
            ),
        ),
        Row(
            "Time",
            (
                graph(
                    "First chunk p50",
                    "Streamed attempts. " + _CHUNK,
                    "s",
                    Query(
                        quantile(0.5, _CHUNK, JOB, by="provider, model"), "{{provider}} {{model}}"
                    ),
                ),
                graph(
                    "First chunk p95",
                    "Streamed attempts. " + _CHUNK,
                    "s",
                    Query(
                        quantile(0.95, _CHUNK, JOB, by="provider, model"), "{{provider}} {{model}}"
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
                        f"({metric('hamlet_deployment_slowness_ratio', *_AT)}))",
                        "{{deployment}}",
                    ),
                    size=(12, 8),
                ),
            ),
        ),
        Row(
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
