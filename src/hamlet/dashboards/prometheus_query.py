"""Runs the queries of dashboard panels against a Prometheus, without Grafana."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import httpx2

_MAX_POINTS = 180


class QueryError(Exception):
    """Prometheus is unreachable, or rejected an expression."""


@dataclass(frozen=True, slots=True)
class Series:
    """One series: legend, labels, and a value at each time of the range (nan for none)."""

    name: str
    labels: Mapping[str, str]
    values: tuple[float, ...]

    @property
    def last(self) -> float:
        """The last value that is not nan; nan if there is none."""
        return next((v for v in reversed(self.values) if not math.isnan(v)), math.nan)


@dataclass(frozen=True, slots=True)
class TimeRange:
    """The queried range, in Unix seconds. `scrape_s` is Prometheus' scrape interval in seconds."""

    start: float
    end: float
    scrape_s: float = 15.0

    @property
    def step_s(self) -> float:
        """Seconds between two points."""
        return max(round((self.end - self.start) / _MAX_POINTS), 1)

    @property
    def times(self) -> tuple[float, ...]:
        """All points, in Unix seconds."""
        count = int((self.end - self.start) / self.step_s) + 1
        return tuple(self.start + i * self.step_s for i in range(count))

    def substitute_variables(self, expr: str) -> str:
        """The expression with every variable set to "All"."""
        interval = max(self.step_s, 4 * self.scrape_s)
        return re.sub(r"\$\w+", ".*", expr.replace("$__rate_interval", f"{interval:.0f}s"))


def query_series(
    http: httpx2.Client, time_range: TimeRange, target: Mapping[str, Any]
) -> list[Series]:
    """The series of one target: over the range, or at its end if it is instant.

    Raises QueryError.
    """
    expr = time_range.substitute_variables(target["expr"])
    if target.get("instant"):
        rows = _fetch(http, "query", {"query": expr, "time": time_range.end})
        points = [[row["value"]] for row in rows]
        times: Sequence[float] = (time_range.end,)
    else:
        span = {"start": time_range.start, "end": time_range.end, "step": time_range.step_s}
        rows = _fetch(http, "query_range", {"query": expr, **span})
        points = [row["values"] for row in rows]
        times = time_range.times
    return [
        Series(_legend_of(target, row["metric"]), row["metric"], _align(times, found))
        for row, found in zip(rows, points, strict=True)
    ]


def _fetch(http: httpx2.Client, path: str, query: dict[str, Any]) -> list[dict[str, Any]]:
    try:
        payload = http.get(f"/api/v1/{path}", params=query).json()
    except (httpx2.HTTPError, ValueError) as error:
        raise QueryError(
            f"{http.base_url}: no Prometheus answers: {type(error).__name__}"
        ) from None
    if payload.get("status") != "success":
        raise QueryError(f"{payload.get('error')}: {query['query']}")
    result: list[dict[str, Any]] = payload["data"]["result"]
    return result


def _align(times: Sequence[float], points: Sequence[tuple[float, str]]) -> tuple[float, ...]:
    found = {round(float(at)): float(value) for at, value in points}
    return tuple(found.get(round(at), math.nan) for at in times)


def _legend_of(target: Mapping[str, Any], labels: Mapping[str, str]) -> str:
    form = target.get("legendFormat", "")
    if form in ("", "__auto"):
        return ", ".join(f"{k}={v}" for k, v in labels.items() if k != "__name__")
    return re.sub(r"\{\{(\w+)\}\}", lambda m: labels.get(m[1], ""), form)
