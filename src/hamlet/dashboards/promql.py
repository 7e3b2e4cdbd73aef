"""PromQL expressions shared by dashboards, rules and alerts; metric names are checked."""

from __future__ import annotations

from hamlet.telemetry.catalogue import CATALOGUE

RATE_INTERVAL = "$__rate_interval"
# What the availability objective counts, and which of that is bad.
COUNTED_OUTCOMES = 'outcome!~"client_error|cancelled|rejected"'
BAD_OUTCOMES = 'outcome=~"failed|overload"'


def metric_selector(name: str, *selectors: str) -> str:
    """A selector of a metric of the catalogue. Raises KeyError for any other name."""
    known = CATALOGUE.get(name)
    if known is None:
        base, _, _ = name.rpartition("_")
        if CATALOGUE[base].type != "histogram":
            raise KeyError(name)
    inside = ",".join(selector for selector in selectors if selector)
    return f"{name}{{{inside}}}" if inside else name


def rate(name: str, *selectors: str, window: str = RATE_INTERVAL, by: str = "") -> str:
    """Events per second, summed."""
    return f"{sum_by(by)}(rate({metric_selector(name, *selectors)}[{window}]))"


def sum_by(by: str) -> str:
    """The aggregation operator of a sum, by labels if any are given."""
    return f"sum by ({by}) " if by else "sum"


def ratio(part: str, total: str) -> str:
    """A share: 0 without events in `part`, no sample without events in `total`."""
    return f"({part}) / ({total} > 0)"


def quantile(
    q: float, name: str, *selectors: str, window: str = RATE_INTERVAL, by: str = ""
) -> str:
    """A quantile of a histogram, by the given labels."""
    keep = f"{by}, le" if by else "le"
    inner = rate(f"{name}_bucket", *selectors, window=window, by=keep)
    return f"histogram_quantile({q}, {inner})"


def mean(name: str, *selectors: str, by: str = "") -> str:
    """The mean of a histogram's observations."""
    return ratio(rate(f"{name}_sum", *selectors, by=by), rate(f"{name}_count", *selectors, by=by))
