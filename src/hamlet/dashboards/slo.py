"""Service level objectives as recording rules: ratios per window, burn rates, error budgets.

Names follow https://github.com/slok/sloth; the method is

https://sre.google/workbook/alerting-on-slos/ (multi-window, multi-burn-rate).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from hamlet.dashboards.promql import BAD_OUTCOMES, COUNTED_OUTCOMES, rate

WINDOWS = ("5m", "30m", "1h", "2h", "6h", "1d", "3d")
SLO_PERIOD = "30d"
# A ratio over fewer events is noise: without this bound a few failures at night would page.
MIN_EVENTS = 200


@dataclass(frozen=True, slots=True)
class Objective:
    """A target share of good events in 30 days. `{w}` in the expressions is the window."""

    name: str
    target: float  # 0 to 1
    description: str
    bad_event_rate: str
    event_rate: str

    @property
    def error_budget(self) -> float:
        """The share of events that may be bad."""
        return round(1 - self.target, 6)

    def min_events_condition(self, window: str) -> str:
        """A condition: the window has more than MIN_EVENTS events."""
        return f"{self.event_rate.format(w=window)} * {_window_seconds(window)} > {MIN_EVENTS}"

    def error_ratio(self, window: str) -> str:
        """The recorded share of bad events."""
        return f'slo:sli_error:ratio_rate{window}{{slo="{self.name}"}}'


_REQUESTS, _FIRST_TOKEN = "hamlet_requests_total", "hamlet_time_to_first_token_seconds"
_HTTP = "hamlet_http_responses_total"
_first_token_rate = rate(f"{_FIRST_TOKEN}_count", window="{w}")

OBJECTIVES = (
    Objective(
        "availability",
        0.995,
        "Answered calls, of those that count against the service",
        rate(_REQUESTS, BAD_OUTCOMES, window="{w}").replace("{o", "{{o").replace('d"}', 'd"}}'),
        rate(_REQUESTS, COUNTED_OUTCOMES, window="{w}").replace("{o", "{{o").replace('d"}', 'd"}}'),
    ),
    Objective(
        "first_token",
        0.95,
        "Streamed calls whose first token comes within 2.56 s",
        f'{_first_token_rate} - sum(rate({_FIRST_TOKEN}_bucket{{{{le="2.56"}}}}[{{w}}]))',
        _first_token_rate,
    ),
    Objective(
        "gateway",
        0.9995,
        "HTTP responses that are not hamlet's own failure (500)",
        f'(sum(rate({_HTTP}{{{{code="500"}}}}[{{w}}])) or vector(0))',
        rate(_HTTP, window="{w}"),
    ),
)


def recording_rules() -> list[dict[str, Any]]:
    """The recording rules of all objectives, as groups."""
    return [
        {"name": f"hamlet-slo-{o.name}", "interval": "30s", "rules": list(_recording_rules_for(o))}
        for o in OBJECTIVES
    ]


def _recording_rules_for(objective: Objective) -> Iterator[dict[str, Any]]:
    labels = {"slo": objective.name}
    for window in WINDOWS:
        bad, events = (
            objective.bad_event_rate.format(w=window),
            objective.event_rate.format(w=window),
        )
        yield {
            "record": f"slo:sli_error:ratio_rate{window}",
            "expr": f"({bad}) / ({events} > 0)",
            "labels": labels,
        }
    short = objective.error_ratio("5m")
    yield {
        "record": f"slo:sli_error:ratio_rate{SLO_PERIOD}",
        "expr": f"sum_over_time({short}[{SLO_PERIOD}]) / count_over_time({short}[{SLO_PERIOD}])",
        "labels": labels,
    }
    for name, value in (("objective", objective.target), ("error_budget", objective.error_budget)):
        yield {"record": f"slo:{name}:ratio", "expr": f"vector({value})", "labels": labels}
    for window in ("5m", "1h", "6h"):
        yield {
            "record": "slo:current_burn_rate:ratio",
            "expr": f"{objective.error_ratio(window)} / {objective.error_budget}",
            "labels": {**labels, "window": window},
        }
    yield {
        "record": "slo:error_budget_remaining:ratio",
        "expr": f"1 - {objective.error_ratio(SLO_PERIOD)} / {objective.error_budget}",
        "labels": labels,
    }


def _window_seconds(window: str) -> int:
    return int(window[:-1]) * {"m": 60, "h": 3600, "d": 86400}[window[-1]]
