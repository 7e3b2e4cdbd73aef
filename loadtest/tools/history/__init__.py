"""Six generated hours: a fleet of 27 reserved deployments, a morning's rise in traffic, and an outage.

Written as OpenMetrics for `promtool tsdb create-blocks-from openmetrics`; the pictures of the dashboards
show it.
"""

from collections.abc import Iterator

from loadtest.tools.history.call_series import attempt_series, call_series, deployment_series
from loadtest.tools.history.model import HOURS, PODS, STEP_S, SeriesSpec, ValueAt
from loadtest.tools.history.platform_series import (
    migration_series,
    node_series,
    process_series,
    screen_series,
)

__all__ = ["HOURS", "openmetrics"]


def all_series() -> Iterator[SeriesSpec]:
    """Every series except the recorded ones: name, labels, value by hour, kind."""
    for pod in PODS:
        base = {"job": "hamlet", "instance": pod}
        for name, labels, value, kind in _pod_series():
            yield name, base | labels, _per_pod(value, kind, name), kind
    yield from node_series()


def _per_pod(value: ValueAt, kind: str, name: str) -> ValueAt:
    if kind == "counter" or name in ("hamlet_calls_in_flight", "hamlet_deployment_in_flight"):
        return lambda h: value(h) / len(PODS)
    return value


def _pod_series() -> Iterator[SeriesSpec]:
    yield from call_series()
    yield from attempt_series()
    yield from deployment_series()
    yield from screen_series()
    yield from process_series()
    yield from migration_series()


def openmetrics(end: float, hours: float = HOURS) -> Iterator[str]:
    """The whole history, ending at Unix time `end`."""
    steps = int(hours * 3600 / STEP_S)
    families: dict[str, list[SeriesSpec]] = {}
    for row in all_series():
        families.setdefault(row[0], []).append(row)
    for name, lines in families.items():
        yield f"# TYPE {name} unknown\n"
        for _, labels, value, kind in lines:
            text = ",".join(f'{k}="{v}"' for k, v in labels.items())
            total = 0.0
            for step in range(steps + 1):
                now = value(step * STEP_S / 3600)
                total = total + max(0.0, now) * STEP_S if kind == "counter" else now
                yield f"{name}{{{text}}} {total:.6g} {end - (steps - step) * STEP_S:.0f}\n"
    yield "# EOF\n"
