"""The metrics reference, generated from the catalogue, and the bound on the number of series."""

from __future__ import annotations

from hamlet.telemetry import labels as L
from hamlet.telemetry.catalogue import CATALOGUE, GROUPS, MetricSpec

# Numbers of label values in the largest configuration expected: 27 reserved deployments, each
# with a pay-per-use twin, plus a reserve.
MAX_LABEL_VALUES = {
    L.ROUTE: 13,
    L.DEPLOYMENT: 64,
    L.PROVIDER: 5,
    L.MODEL: 2,
    L.FEATURE: 8,
    L.PATH: 14,
    L.CODE: 8,
    L.SOURCE: 5,
    L.TIER: 5,
    L.REGION: 1,
    L.CAPACITY: 1,
    L.VERSION: 1,
    L.ARM: 2,
    L.KIND: 3,
    L.VERDICT: 6,
    L.STATE: 6,
    L.TO: 6,
    L.CAUSE: 3,
    L.REASON: 4,
}
# A deployment belongs to few routes, and to one provider and model: their numbers do not multiply.
_INDEPENDENT_LABELS = {
    "hamlet_deployment_info": (L.DEPLOYMENT,),
    "hamlet_cost_usd_total": (L.DEPLOYMENT,),
}
LIBRARY_SERIES = 40
"""Number of series of prometheus_client's process, platform and garbage collector metrics."""


def max_series(metric: MetricSpec, sizes: dict[str, int] | None = None) -> int:
    """The largest number of series of a metric, for these numbers of values per label."""
    sizes = MAX_LABEL_VALUES if sizes is None else sizes
    product = 1
    for label in _INDEPENDENT_LABELS.get(metric.name, metric.labels):
        closed = metric.closed_values(label)
        product *= len(closed) if closed is not None else sizes[label]
    # A histogram has one series per bucket, and those of +Inf, sum and count.
    return product * (len(metric.buckets) + 3 if metric.type == "histogram" else 1)


def max_total_series(sizes: dict[str, int] | None = None) -> int:
    """The largest number of series of one process, including LIBRARY_SERIES."""
    return LIBRARY_SERIES + sum(max_series(metric, sizes) for metric in CATALOGUE.values())


def render_reference() -> str:
    """The text of docs/metrics.md."""
    lines = [
        "# Metrics",
        "",
        "Generated from `telemetry/catalogue.py` by `python -m hamlet.dashboards.build`.",
        "Label values come from the configuration or the closed sets below, never from a caller:",
        f"one process has at most {max_total_series():,} series with 64 deployments, 13 routes and",
        f"8 features, and {max_total_series(_small_sizes()):,} with 6 deployments, 4 routes and no",
        "feature.",
        "Both include the `process_*` and `python_*` metrics of prometheus_client.",
        "",
    ]
    for group, metrics in GROUPS.items():
        lines += [f"## {group}", "", "| name | type | labels | meaning |", "|---|---|---|---|"]
        for metric in metrics:
            labels = ", ".join(f"`{label}`" for label in metric.labels)
            lines.append(f"| `{metric.name}` | {metric.type} | {labels} | {metric.help} |")
        lines.append("")
    lines += ["## Closed sets", ""]
    for label, values in sorted(L.CLOSED_VALUES.items()):
        shown = ", ".join(f"`{value}`" if value else "(empty)" for value in values)
        lines.append(f"- `{label}`: {shown}")
    return "\n".join(lines) + "\n"


def _small_sizes() -> dict[str, int]:
    few = {L.ROUTE: 5, L.DEPLOYMENT: 6, L.PROVIDER: 2, L.MODEL: 1, L.FEATURE: 0, L.PATH: 8}
    return {**MAX_LABEL_VALUES, **few, L.CODE: 4, L.TIER: 2, L.SOURCE: 1}
