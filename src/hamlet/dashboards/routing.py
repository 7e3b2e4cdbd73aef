"""The dashboard of deployments: load, circuit breakers, spillover and retries."""

from __future__ import annotations

from hamlet.dashboards.model_calls import DEPLOYMENT, JOB, ROUTE, VARIABLES
from hamlet.dashboards.panels import (
    Dashboard,
    PanelRow,
    Query,
    Variable,
    bars,
    graph,
    stat,
    timeline,
)
from hamlet.dashboards.promql import metric_selector, rate, ratio

_DEPLOYMENT_SELECTORS = (JOB, DEPLOYMENT)
_ROUTE_SELECTORS = (JOB, ROUTE)
_answers = rate("hamlet_answers_total", *_ROUTE_SELECTORS)
_attempts = rate("hamlet_attempts_total", JOB)
_calls = rate("hamlet_requests_total", *_ROUTE_SELECTORS, 'outcome!~"rejected|client_error"')


def _per_deployment(name: str, aggregation: str = "avg", *selectors: str) -> str:
    """One number per deployment, aggregated over all processes."""
    selected = metric_selector(name, *_DEPLOYMENT_SELECTORS, *selectors)
    return f"{aggregation} by (deployment) ({selected})"


_CHARGED, _CAPACITY = (
    "hamlet_deployment_charged_tokens_total",
    "hamlet_deployment_capacity_tokens_per_second",
)
_charged_rate = rate(_CHARGED, *_DEPLOYMENT_SELECTORS, by="deployment")
_capacity_rate = f"max by (deployment) ({metric_selector(_CAPACITY, *_DEPLOYMENT_SELECTORS)})"
_ptu = f"max by (deployment) ({metric_selector('hamlet_deployment_ptu', *_DEPLOYMENT_SELECTORS)})"
_idle = f"clamp_min(1 - {_charged_rate} / {_capacity_rate}, 0)"
_cooldown = _per_deployment("hamlet_deployment_cooldown_seconds", "max")
_slowness = _per_deployment("hamlet_deployment_slowness_ratio")
_retry_budget = metric_selector("hamlet_retry_budget_ratio", *_ROUTE_SELECTORS)
_hedge_budget = metric_selector("hamlet_hedge_budget_ratio", *_ROUTE_SELECTORS)
_quota = metric_selector("hamlet_rate_limit_remaining_ratio", *_DEPLOYMENT_SELECTORS)
# One number per circuit breaker: 0 closed, 1 half open, 2 open; the worst of all processes.
_open = metric_selector("hamlet_circuit_state", *_DEPLOYMENT_SELECTORS, 'state="open"')
_half_open = metric_selector("hamlet_circuit_state", *_DEPLOYMENT_SELECTORS, 'state="half_open"')
_breaker_state = f"max by (deployment) (2 * {_open} + on (instance, deployment) {_half_open})"
_BREAKER_STATES = ((0.0, "closed", "green"), (1.0, "half open", "yellow"), (2.0, "open", "red"))

FLEET = Dashboard(
    "hamlet-fleet",
    "hamlet / resilience and fleet",
    "Do the deployments carry the load, and what does it cost when they do not?",
    (*VARIABLES, Variable("deployment", "hamlet_deployment_info")),
    (
        PanelRow(
            "Now",
            (
                stat(
                    "Attempts per call",
                    "1 means no retries. hamlet_attempts_total",
                    "none",
                    ratio(_attempts, _calls),
                    warn=1.2,
                    bad=1.5,
                    decimals=2,
                ),
                stat(
                    "Spillover share",
                    "Share of answers from below the first tier. hamlet_answers_total",
                    "percentunit",
                    ratio(rate("hamlet_answers_total", *_ROUTE_SELECTORS, 'tier!="1"'), _answers),
                ),
                stat(
                    "Avoidable / min",
                    "Answers from a lower tier while reserved capacity was free. "
                    "hamlet_avoidable_spills_total",
                    "none",
                    f"60 * {rate('hamlet_avoidable_spills_total', *_ROUTE_SELECTORS)}",
                    warn=1,
                    bad=10,
                    decimals=1,
                ),
                stat(
                    "PTU idle",
                    "Reserved units without load. hamlet_deployment_ptu",
                    "none",
                    f"sum({_ptu} * {_idle})",
                    decimals=0,
                ),
                stat(
                    "PTU used",
                    "Used share of all reserved units. hamlet_deployment_charged_tokens_total",
                    "percentunit",
                    f"sum({_charged_rate}) / sum({_capacity_rate})",
                ),
                stat(
                    "Breakers open",
                    "Deployments with a circuit breaker that is not closed. hamlet_circuit_state",
                    "none",
                    f"count({_breaker_state} > 0) or vector(0)",
                    warn=1,
                    bad=5,
                ),
                stat(
                    "Cooling down",
                    "Deployments that get no calls until their Retry-After has passed. "
                    "hamlet_deployment_cooldown_seconds",
                    "none",
                    f"count({_cooldown} > 0) or vector(0)",
                ),
                stat(
                    "Retry budget",
                    "The lowest of all routes. hamlet_retry_budget_ratio",
                    "percentunit",
                    f"min({_retry_budget})",
                    warn=0.5,
                    bad=0.1,
                ),
            ),
        ),
        PanelRow(
            "By deployment",
            (
                bars(
                    "Fill",
                    "Share of capacity in use, mean over all processes. "
                    "hamlet_deployment_fill_ratio",
                    "percentunit",
                    Query(
                        f"sort_desc({_per_deployment('hamlet_deployment_fill_ratio')})",
                        "{{deployment}}",
                    ),
                    warn=0.8,
                    bad=1.0,
                    maximum=1.2,
                    size=(8, 18),
                ),
                timeline(
                    "Breakers",
                    "The worst state over all processes. hamlet_circuit_state",
                    Query(_breaker_state, "{{deployment}}"),
                    mappings=_BREAKER_STATES,
                    size=(8, 18),
                ),
                bars(
                    "In flight",
                    "Attempts and responses in flight. hamlet_deployment_in_flight",
                    "none",
                    Query(
                        f"sort_desc({_per_deployment('hamlet_deployment_in_flight', 'sum')})",
                        "{{deployment}}",
                    ),
                    size=(8, 18),
                ),
                bars(
                    "Slowness",
                    "Measured over expected latency, where it is clearly above 1. "
                    "hamlet_deployment_slowness_ratio",
                    "none",
                    Query(
                        f"sort_desc(topk(10, {_slowness}))",
                        "{{deployment}}",
                    ),
                    warn=2,
                    bad=4,
                    size=(8, 9),
                    decimals=1,
                ),
                bars(
                    "Cooldown",
                    "Seconds until calls resume. hamlet_deployment_cooldown_seconds",
                    "s",
                    Query(
                        f"sort_desc(topk(10, {_cooldown}))",
                        "{{deployment}}",
                    ),
                    warn=5,
                    bad=30,
                    size=(8, 9),
                    decimals=1,
                ),
                bars(
                    "Depth",
                    "Learned depth of the capacity buckets. hamlet_deployment_depth_seconds",
                    "s",
                    Query(
                        f"bottomk(10, {_per_deployment('hamlet_deployment_depth_seconds')})",
                        "{{deployment}}",
                    ),
                    size=(8, 9),
                    decimals=0,
                ),
            ),
        ),
        PanelRow(
            "Spillover and cost",
            (
                graph(
                    "Answers by tier",
                    "Tier 1 is preferred. hamlet_answers_total",
                    "reqps",
                    Query(
                        rate("hamlet_answers_total", *_ROUTE_SELECTORS, by="tier"), "tier {{tier}}"
                    ),
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
                    "Per minute, by route. hamlet_avoidable_spills_total",
                    "none",
                    Query(
                        "60 * "
                        + rate("hamlet_avoidable_spills_total", *_ROUTE_SELECTORS, by="route"),
                        "{{route}}",
                    ),
                ),
            ),
        ),
        PanelRow(
            "Retries and failover",
            (
                graph(
                    "Further attempts",
                    "Per second, by kind. hamlet_reattempts_total",
                    "reqps",
                    Query(
                        rate("hamlet_reattempts_total", *_ROUTE_SELECTORS, by="kind"), "{{kind}}"
                    ),
                    stack=True,
                ),
                graph(
                    "Retry budget by route",
                    "1 is full. hamlet_retry_budget_ratio",
                    "percentunit",
                    Query(
                        f"min by (route) ({_retry_budget})",
                        "{{route}}",
                    ),
                    maximum=1.0,
                ),
                graph(
                    "Hedge budget by route",
                    "1 is full. hamlet_hedge_budget_ratio",
                    "percentunit",
                    Query(
                        f"min by (route) ({_hedge_budget})",
                        "{{route}}",
                    ),
                    maximum=1.0,
                ),
                graph(
                    "Circuit breaker changes",
                    "Changes per minute. hamlet_circuit_changes_total",
                    "none",
                    Query(
                        f"60 * {rate('hamlet_circuit_changes_total', *_DEPLOYMENT_SELECTORS)}",
                        "changes",
                    ),
                    size=(8, 7),
                ),
                graph(
                    "Vendor quota remaining",
                    "Share of the current minute's quota left, from vendors' response headers; "
                    "alerts below 10 %. "
                    "hamlet_rate_limit_remaining_ratio",
                    "percentunit",
                    Query(
                        f"min by (deployment, kind) ({_quota})",
                        "{{deployment}} {{kind}}",
                    ),
                    maximum=1.0,
                    size=(8, 7),
                ),
                timeline(
                    "Shared state",
                    "Whether processes share deployment state through Redis. "
                    "hamlet_fleet_shared_state",
                    Query(
                        f"max by (state) ({metric_selector('hamlet_fleet_shared_state', JOB)})",
                        "{{state}}",
                    ),
                    mappings=((0.0, "no", "gray"), (1.0, "yes", "green")),
                    size=(8, 7),
                ),
            ),
        ),
    ),
)
