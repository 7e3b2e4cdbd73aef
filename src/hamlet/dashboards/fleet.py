"""The dashboard of the fleet: what carries calls, and what it costs when it does not."""

from __future__ import annotations

from hamlet.dashboards.model_calls import DEPLOYMENT, JOB, ROUTE, VARIABLES
from hamlet.dashboards.panels import Dashboard, Query, Row, Variable, bars, graph, stat, timeline
from hamlet.dashboards.promql import RATE, metric, rate, ratio

_AT = (JOB, DEPLOYMENT)
_OF = (JOB, ROUTE)
_answers = rate("hamlet_answers_total", *_OF)
_attempts = rate("hamlet_attempts_total", JOB)
_calls = rate("hamlet_requests_total", *_OF, 'outcome!~"rejected|client_error"')


def _by(name: str, how: str = "avg", *selectors: str) -> str:
    """One number per deployment over all processes."""
    return f"{how} by (deployment) ({metric(name, *_AT, *selectors)})"


_CHARGED, _CAPACITY = (
    "hamlet_deployment_charged_tokens_total",
    "hamlet_deployment_capacity_tokens_per_second",
)
_used = f"sum by (deployment) (rate({metric(_CHARGED, *_AT)}[{RATE}]))"
_has = f"max by (deployment) ({metric(_CAPACITY, *_AT)})"
_ptu = f"max by (deployment) ({metric('hamlet_deployment_ptu', *_AT)})"
_idle = f"clamp_min(1 - {_used} / {_has}, 0)"
# One number for each breaker: 0 closed, 1 half open, 2 open, the worst of all processes.
_open = metric("hamlet_circuit_state", *_AT, 'state="open"')
_half = metric("hamlet_circuit_state", *_AT, 'state="half_open"')
_breaker = f"max by (deployment) (2 * {_open} + on (instance, deployment) {_half})"
_BREAKER = ((0.0, "closed", "green"), (1.0, "half open", "yellow"), (2.0, "open", "red"))

FLEET = Dashboard(
    "hamlet-fleet",
    "hamlet / resilience and fleet",
    "Does the fleet carry the load, and what does it cost when it does not?",
    (*VARIABLES, Variable("deployment", "hamlet_deployment_info")),
    (
        Row(
            "Now",
            (
                stat(
                    "Attempts per call",
                    "1 is no retry at all. hamlet_attempts_total",
                    "none",
                    ratio(_attempts, _calls),
                    warn=1.2,
                    bad=1.5,
                    decimals=2,
                ),
                stat(
                    "Spilled",
                    "Answers not by the first tier. hamlet_answers_total",
                    "percentunit",
                    ratio(rate("hamlet_answers_total", *_OF, 'tier!="1"'), _answers),
                ),
                stat(
                    "Avoidable a min",
                    "Paid although reserved capacity above had room. hamlet_avoidable_spills_total",
                    "none",
                    f"60 * {rate('hamlet_avoidable_spills_total', *_OF)}",
                    warn=1,
                    bad=10,
                    decimals=1,
                ),
                stat(
                    "PTU idle",
                    "Reserved units that did nothing. hamlet_deployment_ptu",
                    "none",
                    f"sum({_ptu} * {_idle})",
                    decimals=0,
                ),
                stat(
                    "PTU used",
                    "Part of all reserved units. hamlet_deployment_charged_tokens_total",
                    "percentunit",
                    f"sum({_used}) / sum({_has})",
                ),
                stat(
                    "Breakers open",
                    "Deployments left alone. hamlet_circuit_state",
                    "none",
                    f"count({_breaker} > 0) or vector(0)",
                    warn=1,
                    bad=5,
                ),
                stat(
                    "Cooling down",
                    "Deployments that asked for a pause. hamlet_deployment_cooldown_seconds",
                    "none",
                    f"count({_by('hamlet_deployment_cooldown_seconds', 'max')} > 0) or vector(0)",
                ),
                stat(
                    "Retry budget",
                    "The least of all routes. hamlet_retry_budget_ratio",
                    "percentunit",
                    f"min({metric('hamlet_retry_budget_ratio', *_OF)})",
                    warn=0.5,
                    bad=0.1,
                ),
            ),
        ),
        Row(
            "Every deployment",
            (
                bars(
                    "Fill",
                    "Part of its capacity in use, the mean of all processes. "
                    "hamlet_deployment_fill_ratio",
                    "percentunit",
                    Query(f"sort_desc({_by('hamlet_deployment_fill_ratio')})", "{{deployment}}"),
                    warn=0.8,
                    bad=1.0,
                    maximum=1.2,
                    size=(8, 18),
                ),
                timeline(
                    "Breakers",
                    "closed, half open, open: the worst of all processes. hamlet_circuit_state",
                    Query(_breaker, "{{deployment}}"),
                    mappings=_BREAKER,
                    size=(8, 18),
                ),
                bars(
                    "In flight",
                    "Attempts and answers. hamlet_deployment_in_flight",
                    "none",
                    Query(
                        f"sort_desc({_by('hamlet_deployment_in_flight', 'sum')})", "{{deployment}}"
                    ),
                    size=(8, 18),
                ),
                bars(
                    "Slowness",
                    "Times slower than expected, if clearly. hamlet_deployment_slowness_ratio",
                    "none",
                    Query(
                        f"sort_desc(topk(10, {_by('hamlet_deployment_slowness_ratio')}))",
                        "{{deployment}}",
                    ),
                    warn=2,
                    bad=4,
                    size=(8, 9),
                    decimals=1,
                ),
                bars(
                    "Cooldown",
                    "Seconds left. hamlet_deployment_cooldown_seconds",
                    "s",
                    Query(
                        f"sort_desc(topk(10, {_by('hamlet_deployment_cooldown_seconds', 'max')}))",
                        "{{deployment}}",
                    ),
                    warn=5,
                    bad=30,
                    size=(8, 9),
                    decimals=1,
                ),
                bars(
                    "Depth",
                    "Learned depth of the buckets. hamlet_deployment_depth_seconds",
                    "s",
                    Query(
                        f"bottomk(10, {_by('hamlet_deployment_depth_seconds')})", "{{deployment}}"
                    ),
                    size=(8, 9),
                    decimals=0,
                ),
            ),
        ),
        Row(
            "Spill and money",
            (
                graph(
                    "Answers by tier",
                    "1 is the preferred. hamlet_answers_total",
                    "reqps",
                    Query(rate("hamlet_answers_total", *_OF, by="tier"), "tier {{tier}}"),
                    stack=True,
                ),
                graph(
                    "Reserved units",
                    "In use and idle. hamlet_deployment_charged_tokens_total",
                    "none",
                    Query(f"sum({_ptu} * (1 - {_idle}))", "in use"),
                    Query(f"sum({_ptu} * {_idle})", "idle"),
                    stack=True,
                ),
                graph(
                    "Avoidable spills",
                    "A minute, by route. hamlet_avoidable_spills_total",
                    "none",
                    Query(
                        f"60 * {rate('hamlet_avoidable_spills_total', *_OF, by='route')}",
                        "{{route}}",
                    ),
                ),
            ),
        ),
        Row(
            "Going on after failures",
            (
                graph(
                    "Attempts beyond the first",
                    "A second, by way. hamlet_reattempts_total",
                    "reqps",
                    Query(rate("hamlet_reattempts_total", *_OF, by="kind"), "{{kind}}"),
                    stack=True,
                ),
                graph(
                    "Retry budget by route",
                    "1 is full. hamlet_retry_budget_ratio",
                    "percentunit",
                    Query(
                        f"min by (route) ({metric('hamlet_retry_budget_ratio', *_OF)})", "{{route}}"
                    ),
                    maximum=1.0,
                ),
                graph(
                    "Hedge budget by route",
                    "1 is full. hamlet_hedge_budget_ratio",
                    "percentunit",
                    Query(
                        f"min by (route) ({metric('hamlet_hedge_budget_ratio', *_OF)})", "{{route}}"
                    ),
                    maximum=1.0,
                ),
                graph(
                    "Breakers opened and closed",
                    "Changes a minute. hamlet_circuit_changes_total",
                    "none",
                    Query(f"60 * {rate('hamlet_circuit_changes_total', *_AT)}", "changes"),
                    size=(8, 7),
                ),
                graph(
                    "Rights left",
                    "Of a minute's, as vendors' answers say; under a tenth is little. "
                    "hamlet_rate_limit_remaining_ratio",
                    "percentunit",
                    Query(
                        "min by (deployment, kind) "
                        f"({metric('hamlet_rate_limit_remaining_ratio', *_AT)})",
                        "{{deployment}} {{kind}}",
                    ),
                    maximum=1.0,
                    size=(8, 7),
                ),
                timeline(
                    "Shared state",
                    "Whether processes share what they know. hamlet_fleet_shared_state",
                    Query(
                        f"max by (state) ({metric('hamlet_fleet_shared_state', JOB)})", "{{state}}"
                    ),
                    mappings=((0.0, "no", "gray"), (1.0, "yes", "green")),
                    size=(8, 7),
                ),
            ),
        ),
    ),
)
