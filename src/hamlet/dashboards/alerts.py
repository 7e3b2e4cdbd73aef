"""The alerts: condition, severity, texts and links."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from hamlet.dashboards.promql import metric_selector, rate
from hamlet.dashboards.slo import OBJECTIVES, Objective

RUNBOOK = "docs/runbook.md"
_DASHBOARD_ROOT = "/d/"


@dataclass(frozen=True, slots=True)
class Alert:
    """One alert. `summary` and `description` may use {{ $labels.x }} and {{ $value }}.

    `for_` is a Prometheus duration; `dashboard` is a dashboard's uid.
    """

    name: str
    expr: str
    for_: str
    severity: str
    summary: str
    description: str
    dashboard: str

    def rule(self) -> dict[str, Any]:
        """The rule as Prometheus reads it."""
        return {
            "alert": self.name,
            "expr": self.expr,
            "for": self.for_,
            **({"keep_firing_for": "5m"} if self.severity == "page" else {}),
            "labels": {"severity": self.severity, "service": "hamlet"},
            "annotations": {
                "summary": self.summary,
                "description": self.description,
                "runbook_url": f"{RUNBOOK}#{self.name.lower()}",
                "dashboard_url": f"{_DASHBOARD_ROOT}{self.dashboard}",
            },
        }


_PERCENT, _VALUE = "{{ $value | humanizePercentage }}", "{{ $value | humanize }}"
_SECONDS, _DEPLOYMENT = "{{ $value | humanizeDuration }}", "{{ $labels.deployment }}"


def _burn_rate(objective: Objective, *pairs: tuple[float, str, str]) -> str:
    """Both windows of a pair burn faster than its factor, with enough traffic in the longer one."""
    return " or ".join(
        f"(({objective.error_ratio(long)} > {round(factor * objective.error_budget, 6)}) and on ()"
        f" ({objective.error_ratio(short)} > {round(factor * objective.error_budget, 6)}) and on ()"
        f" ({objective.min_events_condition(long)}))"
        for factor, long, short in pairs
    )


_AVAILABILITY, _FIRST_TOKEN, _GATEWAY = OBJECTIVES
_ATTEMPTS = "hamlet_attempts_total"
_FAILED = 'result!~"ok|cancelled|rate_limited|invalid_request|content_filter|unsupported"'
_failures_by_deployment = rate(_ATTEMPTS, _FAILED, window="5m", by="deployment")
_attempts_by_deployment = rate(_ATTEMPTS, window="5m", by="deployment")
_connect_failures = rate("hamlet_connect_failures_total", window="5m", by="deployment")
_open = metric_selector("hamlet_circuit_state", 'state="open"')
_FILL_RATIO = "hamlet_deployment_fill_ratio"
_reserved = metric_selector("hamlet_deployment_ptu")
_wait = rate("hamlet_queue_wait_seconds_bucket", window="5m", by="le")
_lag = rate("hamlet_event_loop_lag_seconds_bucket", window="5m", by="le, instance")
_spend = rate("hamlet_cost_usd_total", window="1h")
_rescues = rate("hamlet_cutover_rescues_total", window="5m", by="feature")
_new_arm_requests = rate("hamlet_cutover_requests_total", 'arm="new"', window="5m", by="feature")
_late_suggestions = rate("hamlet_suggest_late_total", window="10m")
_suggestions = rate("hamlet_suggest_duration_seconds_count", window="10m")
_ended_requests = rate("hamlet_requests_total", 'outcome!~"rejected|client_error"', window="10m")

SLO_ALERTS = (
    Alert(
        "HamletAvailabilityBurnFast",
        _burn_rate(_AVAILABILITY, (14.4, "1h", "5m")),
        "2m",
        "page",
        "Calls are failing fast: at this rate the 30-day error budget lasts two days",
        f"{_PERCENT} of calls failed in the last hour; the objective allows 0.5 %.",
        "hamlet-overview",
    ),
    Alert(
        "HamletAvailabilityBurnSlow",
        _burn_rate(_AVAILABILITY, (6, "6h", "30m")),
        "15m",
        "page",
        "Calls are failing: at this rate the 30-day error budget lasts five days",
        f"{_PERCENT} of calls failed in the last six hours; the objective allows 0.5 %.",
        "hamlet-overview",
    ),
    Alert(
        "HamletAvailabilityBurnTicket",
        _burn_rate(_AVAILABILITY, (3, "1d", "2h"), (1, "3d", "6h")),
        "1h",
        "ticket",
        "Calls fail slightly more often than the objective allows",
        f"{_PERCENT} of calls failed in the last days; the objective allows 0.5 %.",
        "hamlet-overview",
    ),
    Alert(
        "HamletFirstTokenBurn",
        _burn_rate(_FIRST_TOKEN, (14.4, "1h", "5m"), (6, "6h", "30m")),
        "5m",
        "page",
        "First tokens are late",
        f"{_PERCENT} of streams began after 2.56 s; the objective allows 5 %.",
        "hamlet-overview",
    ),
    Alert(
        "HamletGatewayBurn",
        _burn_rate(_GATEWAY, (14.4, "1h", "5m"), (6, "6h", "30m")),
        "2m",
        "page",
        "hamlet itself answers with 500",
        f"{_PERCENT} of HTTP responses were hamlet's own failure; the objective allows 0.05 %.",
        "hamlet-overview",
    ),
)
CAUSE_ALERTS = (
    Alert(
        "HamletDown",
        'absent(up{job="hamlet"} == 1) or absent(hamlet_ready == 1)',
        "2m",
        "page",
        "No hamlet is ready",
        "No process of the job can be scraped and reports ready.",
        "hamlet-infra",
    ),
    Alert(
        "HamletPodsUnready",
        'sum(hamlet_ready) < 2 and on () count(up{job="hamlet"}) >= 2',
        "5m",
        "page",
        "Fewer than two hamlet processes are ready",
        f"{_VALUE} ready; one more failure takes the service down.",
        "hamlet-infra",
    ),
    Alert(
        "HamletModelCallFailing",
        f"{_failures_by_deployment} / ({_attempts_by_deployment} > 0) > 0.2"
        f" and {_attempts_by_deployment} * 300 > 20",
        "5m",
        "ticket",
        f"{_DEPLOYMENT} fails",
        f"{_PERCENT} of its attempts fail.",
        "hamlet-model-calls",
    ),
    Alert(
        "HamletCannotConnect",
        f"{_connect_failures} / ({_attempts_by_deployment} > 0) > 0.5"
        f" and {_connect_failures} * 300 >= 5",
        "5m",
        "ticket",
        f"hamlet cannot connect to {_DEPLOYMENT}",
        f"{_PERCENT} of its attempts fail because no connection can be opened.",
        "hamlet-model-calls",
    ),
    Alert(
        "HamletRouteExhausted",
        rate("hamlet_requests_total", 'outcome="failed"', window="5m", by="route") + " > 0.5",
        "3m",
        "page",
        "All deployments of {{ $labels.route }} fail",
        f"{_VALUE} calls per second fail after every eligible deployment was tried.",
        "hamlet-model-calls",
    ),
    Alert(
        "HamletCircuitOpenLong",
        f"min by (deployment) (max_over_time({_open}[1m])) > 0",
        "15m",
        "ticket",
        f"{_DEPLOYMENT} has had an open circuit breaker for 15 minutes",
        "Its circuit breaker is open in every process.",
        "hamlet-fleet",
    ),
    Alert(
        "HamletRetryStorm",
        f"{rate(_ATTEMPTS, window='10m')} / ({_ended_requests} > 0) > 1.5",
        "10m",
        "ticket",
        "Calls need many attempts",
        f"{_VALUE} attempts per call.",
        "hamlet-fleet",
    ),
    Alert(
        "HamletRetryBudgetExhausted",
        "min by (route) (hamlet_retry_budget_ratio) < 0.05",
        "5m",
        "ticket",
        "The retry budget of {{ $labels.route }} is used up",
        f"{_PERCENT} of the retry budget is left.",
        "hamlet-fleet",
    ),
    Alert(
        "HamletFleetFull",
        f"avg({_FILL_RATIO} and {_reserved}) > 0.9",
        "10m",
        "ticket",
        "Reserved capacity is full",
        f"{_PERCENT} in use: calls spill to pay-per-use deployments.",
        "hamlet-fleet",
    ),
    Alert(
        "HamletAvoidableSpill",
        rate("hamlet_avoidable_spills_total", window="10m", by="route")
        + " / ("
        + rate("hamlet_answers_total", window="10m", by="route")
        + " > 0) > 0.05",
        "10m",
        "ticket",
        "{{ $labels.route }} spills to pay-per-use while reserved capacity is free",
        f"{_PERCENT} of its answers.",
        "hamlet-fleet",
    ),
    Alert(
        "HamletRateLimitHeadroom",
        f"min by (deployment, kind) ({metric_selector('hamlet_rate_limit_remaining_ratio')}) < 0.1",
        "10m",
        "ticket",
        f"{_DEPLOYMENT} is close to its quota of {{{{ $labels.kind }}}} per minute",
        f"{_PERCENT} left, according to its vendor.",
        "hamlet-fleet",
    ),
    Alert(
        "HamletSharedStateAway",
        'max(hamlet_fleet_shared_state{state="away"}) == 1',
        "5m",
        "ticket",
        "Processes no longer share deployment state",
        "Redis is unreachable; each process uses its own observations.",
        "hamlet-fleet",
    ),
    Alert(
        "HamletQueueSaturated",
        f"histogram_quantile(0.95, {_wait}) > 0.25 or max(hamlet_distress_level) >= 2",
        "10m",
        "page",
        "Calls queue for admission or are shed",
        "hamlet is at its limit of calls in flight, or overloaded.",
        "hamlet-infra",
    ),
    Alert(
        "HamletEventLoopLag",
        f"histogram_quantile(0.99, {_lag}) > 0.25",
        "5m",
        "ticket",
        "{{ $labels.instance }} stalls",
        f"Its event loop wakes up {_SECONDS} late.",
        "hamlet-infra",
    ),
    Alert(
        "HamletMemoryGrowth",
        'predict_linear(process_resident_memory_bytes{job="hamlet"}[6h], 43200) > 1.5e9'
        ' and process_resident_memory_bytes{job="hamlet"} > 3e8',
        "30m",
        "ticket",
        "{{ $labels.instance }} is on course to exceed its memory limit",
        "{{ $value | humanize1024 }}B in twelve hours at the current growth.",
        "hamlet-infra",
    ),
    Alert(
        "HamletGuardrailTripped",
        "sum by (feature, to) (increase(hamlet_cutover_transitions_total"
        '{cause="guardrail"}[10m])) > 0',
        "0m",
        "page",
        "A guardrail moved {{ $labels.feature }} to {{ $labels.to }}",
        "The new arm breached a guardrail; the journal has the reason.",
        "hamlet-cutover",
    ),
    Alert(
        "HamletRescueRate",
        f"{_rescues} / ({_new_arm_requests} > 0) > 0.01",
        "5m",
        "ticket",
        "hamlet1 rescues calls of {{ $labels.feature }}",
        f"{_PERCENT} of the new arm's calls.",
        "hamlet-cutover",
    ),
    Alert(
        "HamletTelemetryBroken",
        "sum(increase(hamlet_telemetry_errors_total[10m])) > 0"
        ' or (sum(rate(hamlet_requests_total{outcome="ok"}[10m])) > 0'
        " unless on () sum(rate(hamlet_attempts_total[10m])) > 0)",
        "5m",
        "ticket",
        "hamlet's metrics are unreliable",
        "An observer raises, or calls are answered without attempts.",
        "hamlet-infra",
    ),
    Alert(
        "HamletSpendSpike",
        f"3600 * {_spend} > 3 * 3600 * {_spend.replace('[1h]', '[1h] offset 1w')}"
        f" and 3600 * {_spend} > 1",
        "15m",
        "ticket",
        "Spending is three times last week's",
        "{{ $value | humanize }} USD an hour.",
        "hamlet-cost",
    ),
    Alert(
        "HamletConfigRejected",
        "min(hamlet_config_last_reload_ok) == 0",
        "1m",
        "ticket",
        "The last reload was refused",
        "hamlet keeps the previous configuration; the log has the reason.",
        "hamlet-infra",
    ),
    Alert(
        "HamletScreenLate",
        f"{_late_suggestions} / ({_suggestions} > 0) > 0.05 and {_suggestions} * 600 > 100",
        "10m",
        "ticket",
        "The main screen is late",
        f"{_PERCENT} of its answers take longer than their budget.",
        "hamlet-screen",
    ),
    Alert(
        "HamletWebSourcesAway",
        "min(hamlet_web_source_open) == 1",
        "10m",
        "ticket",
        "The circuits of all web sources are open",
        "Links come only from the cache and the catalogue.",
        "hamlet-screen",
    ),
)
ALERTS = (*SLO_ALERTS, *CAUSE_ALERTS)


def alert_groups() -> list[dict[str, Any]]:
    """The alerts as groups of rules."""
    return [
        {"name": "hamlet-levels", "rules": [alert.rule() for alert in SLO_ALERTS]},
        {"name": "hamlet-causes", "rules": [alert.rule() for alert in CAUSE_ALERTS]},
    ]
