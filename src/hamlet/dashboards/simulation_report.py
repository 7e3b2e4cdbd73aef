"""Simulation runs compared: a table, and charts of load, spillover and cost."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from hamlet.dashboards.line_chart import LineChart, SeriesByName
from hamlet.dashboards.units import format_value
from hamlet.reporting import html
from hamlet.simulator.load_breakdown import LoadBreakdown, tiers_with_load

_STYLE = (
    "body{max-width:1560px}td,th{text-align:right}td:first-child,th:first-child{text-align:left}"
)


def comparison_table(runs: Mapping[str, LoadBreakdown]) -> list[list[str]]:
    """Rows of a table, the head first: one row per figure with a cell for each run."""
    breakdowns = list(runs.values())
    rows = [["", *runs]]
    rows += [
        [name, *(form(breakdown) for breakdown in breakdowns)] for name, form in _TABLE_ROWS.items()
    ]
    for tier in tiers_with_load(breakdowns):
        rows.append(
            [
                f"load: {tier}",
                *(f"{breakdown.load_share_by_tier()[tier]:.2%}" for breakdown in breakdowns),
            ]
        )
    for code in sorted({code for breakdown in breakdowns for code in breakdown.report.errors}):
        rows.append([f"failed: {code}", *(str(t.report.errors[code]) for t in breakdowns)])
    return rows


_TABLE_ROWS: Mapping[str, Callable[[LoadBreakdown], str]] = {
    "requests": lambda t: str(len(t.report.outcomes)),
    "success": lambda t: f"{t.report.success_ratio:.3%}",
    "attempts per request": lambda t: f"{t.report.attempts_per_request:.3f}",
    "429s of attempts": lambda t: f"{t.report.rate_limited_ratio:.2%}",
    "first token p50": lambda t: f"{t.report.ttft_s(0.5):.2f} s",
    "first token p99": lambda t: f"{t.report.ttft_s(0.99):.2f} s",
    "paid per use": lambda t: f"{t.pay_per_use_share():.2%}",
    "cost": lambda t: _format_cost(t.total_cost_usd()),
}


def _format_cost(value: float) -> str:
    return "a price is unknown" if math.isnan(value) else format_value(value, "currencyUSD")


def comparison_charts(runs: Mapping[str, LoadBreakdown]) -> list[LineChart]:
    """Load and cost by tier, one chart per run on a common scale, then the overlay charts."""
    breakdowns = list(runs.values())
    tiers = tiers_with_load(breakdowns)
    loads = [
        {tier: row for tier, row in t.load_per_minute().items() if tier in tiers}
        for t in breakdowns
    ]
    drawn = _same_scale_charts(
        "load", "Load by tier, input-equivalent tokens per minute", "none", runs, loads
    )
    costs = [t.cost_per_minute() for t in breakdowns]
    if not any(math.isnan(t.total_cost_usd()) for t in breakdowns) and any(
        t.total_cost_usd() for t in breakdowns
    ):
        drawn += _same_scale_charts(
            "cost", "Cost by tier, dollars per minute", "currencyUSD", runs, costs
        )
    return drawn + overlay_charts(runs)


def overlay_charts(runs: Mapping[str, LoadBreakdown]) -> list[LineChart]:
    """Goodput, spillover, 429s and time to first token, one line per run."""
    times = next(iter(runs.values())).windows.times

    def each(value: Callable[[LoadBreakdown], Sequence[float]]) -> SeriesByName:
        return {name: value(breakdown) for name, breakdown in runs.items()}

    spill, late = (
        each(LoadBreakdown.pay_per_use_share_by_window),
        each(lambda t: t.ttft_s_by_window(0.99)),
    )
    return [
        LineChart(
            "goodput",
            "Goodput, output tokens per minute",
            "none",
            times,
            each(LoadBreakdown.goodput_per_minute),
        ),
        LineChart(
            "spill", "Spillover: share of the load paid per use", "percentunit", times, spill
        ),
        LineChart(
            "429s",
            "429 responses per minute",
            "none",
            times,
            each(LoadBreakdown.rate_limited_per_minute),
        ),
        LineChart("ttft", "Time to first token, p99", "s", times, late),
    ]


def _same_scale_charts(
    name: str,
    title: str,
    unit: str,
    runs: Mapping[str, LoadBreakdown],
    rows: Sequence[SeriesByName],
) -> list[LineChart]:
    """One stacked chart per run, all on the scale of the highest."""
    drawn = [
        LineChart(
            f"{name}-{i}", f"{title}: {run}", unit, breakdown.windows.times, row, stacked=True
        )
        for i, ((run, breakdown), row) in enumerate(zip(runs.items(), rows, strict=True))
    ]
    y_max = max(picture.max_value for picture in drawn)
    return [replace(picture, y_max=y_max) for picture in drawn]


def write_report(
    folder: Path, title: str, table: Sequence[Sequence[str]], charts: Sequence[LineChart]
) -> None:
    """Write `index.html` with the table and all charts, and each chart as an SVG file.

    Raises ChartsUnavailable without pygal, OSError if `folder` cannot be written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    svgs = {picture.name: picture.render_svg() for picture in charts}
    for name, svg in svgs.items():
        (folder / f"{name}.svg").write_text(svg + "\n", "utf-8")
    head, *rows = table
    drawn = "".join(map(html.inline_svg, svgs.values()))
    body = f'<h1>{html.escape(title)}</h1>{html.table(head, rows)}<div class="charts">{drawn}</div>'
    (folder / "index.html").write_text(html.page(title, body, style=_STYLE), "utf-8")
