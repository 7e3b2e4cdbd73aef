"""Dashboard panels as HTML and SVG that need no script and no network."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from hamlet.dashboards.prometheus_query import Series
from hamlet.dashboards.units import format_value
from hamlet.reporting.chart import (
    PALETTE,
    Bar,
    ChartFrame,
    Formatter,
    bar_chart,
    line_chart,
    time_labels,
)
from hamlet.reporting.html import escape, inline_svg

_COLORS = {
    "green": "#3f9c5a",
    "yellow": "#d9a514",
    "red": "#d1433f",
    "blue": "#3d71c4",
    "orange": "#e07b29",
    "purple": "#8c5fc0",
    "gray": "#9aa0a6",
}
_MAX_LINES, _MAX_LEGEND_ENTRIES = 12, 7
_COLUMN_PX = 46
_LEGEND_LINE_PX = 17
PanelJson = Mapping[str, Any]


def render_panel(panel: PanelJson, series: Sequence[Series], times: Sequence[float]) -> str:
    """The body of one panel, over the Unix seconds `times`. Raises ChartsUnavailable."""
    if not any(not math.isnan(one.last) for one in series):
        return '<p class="none">no data</p>'
    renderer = _RENDERERS[panel["type"]]
    return renderer(panel, series, times)


def _render_stat(panel: PanelJson, series: Sequence[Series], times: Sequence[float]) -> str:
    value = series[0].last
    color, text = _value_color(panel, value), escape(_value_text(panel, value))
    return f'<p class="stat" style="color:{color}">{text}</p>'


def _render_graph(panel: PanelJson, series: Sequence[Series], times: Sequence[float]) -> str:
    stacked = panel["fieldConfig"]["defaults"]["custom"]["stacking"]["mode"] == "normal"
    # Of too many series, the largest are the ones that a reader looks for.
    largest = sorted(series, key=_max_value, reverse=True)[:_MAX_LINES]
    plotted = sorted(largest, key=lambda one: one.name)
    in_legend = sorted(largest[:_MAX_LEGEND_ENTRIES], key=lambda one: one.name)
    colors = _series_colors(panel, plotted)
    width, height = _panel_size_px(panel)
    legend_lines = 1 + sum(len(one.name) + 4 for one in in_legend) * 6 // width
    svg = line_chart(
        _frame(panel, width, height - _LEGEND_LINE_PX * legend_lines, colors),
        {one.name: one.values for one in plotted},
        time_labels(times, width, *_time_formatters(times)),
        y_range=_y_range(panel, series, stacked),
        stacked=stacked,
    )
    legend = "".join(
        f'<em><i style="background:{color}"></i>{escape(one.name)}</em>'
        for one, color in zip(plotted, colors, strict=True)
        if one in in_legend
    )
    if len(series) > len(in_legend):
        legend += f"<em>and {len(series) - len(in_legend)} more</em>"
    return f'{inline_svg(svg)}<p class="key">{legend}</p>'


def _time_formatters(times: Sequence[float]) -> list[Formatter]:
    forms = ["%d %b"] if times[-1] - times[0] > 86_400 else ["%H:%M", "%H:%M:%S"]
    return [_time_formatter(form) for form in forms]


def _time_formatter(form: str) -> Formatter:
    return lambda at: datetime.fromtimestamp(at, UTC).strftime(form)


def _max_value(one: Series) -> float:
    return max((value for value in one.values if not math.isnan(value)), default=0.0)


def _series_colors(panel: PanelJson, series: Sequence[Series]) -> list[str]:
    """The colours that the panel fixes; for other series the unused ones of the palette."""
    fixed = [_fixed_color(panel, one.name) for one in series]
    unused = iter([color for color in PALETTE if color not in fixed] + list(PALETTE))
    return [color or next(unused) for color in fixed]


def _fixed_color(panel: PanelJson, name: str) -> str | None:
    """The colour that the panel fixes for a series, if any."""
    for override in panel["fieldConfig"]["overrides"]:
        if override["matcher"]["options"] == name:
            return _COLORS[override["properties"][0]["value"]["fixedColor"]]
    return None


def _render_bars(panel: PanelJson, series: Sequence[Series], times: Sequence[float]) -> str:
    rows = [one for one in series if not math.isnan(one.last)]
    top = max([one.last for one in rows] + [panel["fieldConfig"]["defaults"].get("max", 0)])
    svg = bar_chart(
        _frame(panel, *_panel_size_px(panel), PALETTE),
        [Bar(one.name, one.last, _value_color(panel, one.last)) for one in rows],
        value_range=(0.0, top or 1.0),
    )
    return inline_svg(svg)


def _render_table(panel: PanelJson, series: Sequence[Series], times: Sequence[float]) -> str:
    names = sorted({name for one in series for name in one.labels} - {"__name__"})
    head = "".join(f"<th>{escape(name)}</th>" for name in (*names, "value"))
    rows = "".join(
        "<tr>"
        + "".join(f"<td>{escape(one.labels.get(name, ''))}</td>" for name in names)
        + f'<td class="number">{escape(_value_text(panel, one.last))}</td></tr>'
        for one in sorted(series, key=lambda s: -s.last)
    )
    return f"<table><tr>{head}</tr>{rows}</table>"


def _render_timeline(panel: PanelJson, series: Sequence[Series], times: Sequence[float]) -> str:
    known = _value_mappings(panel)
    rows = []
    for one in sorted(series, key=lambda s: s.name):
        spans = "".join(
            f'<i style="flex:{count};background:{known.get(value, ("", "transparent"))[1]}"></i>'
            for value, count in _run_lengths(one.values)
        )
        rows.append(f"<div class=lane><b>{escape(one.name)}</b><span>{spans}</span></div>")
    legend = "".join(
        f'<em style="color:{color}">■ {escape(text)}</em> ' for text, color in known.values()
    )
    return f'<div class="lanes">{"".join(rows)}</div><p class="key">{legend}</p>'


def _run_lengths(values: Sequence[float]) -> list[tuple[float | None, int]]:
    runs: list[tuple[float | None, int]] = []
    for value in values:
        state = None if math.isnan(value) else value
        if runs and runs[-1][0] == state:
            runs[-1] = (state, runs[-1][1] + 1)
        else:
            runs.append((state, 1))
    return runs


_RENDERERS: dict[str, Callable[[PanelJson, Sequence[Series], Sequence[float]], str]] = {
    "stat": _render_stat,
    "timeseries": _render_graph,
    "bargauge": _render_bars,
    "table": _render_table,
    "state-timeline": _render_timeline,
}


def _frame(panel: PanelJson, width_px: int, height_px: int, colors: Sequence[str]) -> ChartFrame:
    unit = panel["fieldConfig"]["defaults"]["unit"]
    return ChartFrame(
        width_px=width_px,
        height_px=height_px,
        colors=colors,
        show_legend=False,
        format_value=lambda value: format_value(value, unit),
        max_y_labels=5,
    )


def _y_range(panel: PanelJson, series: Sequence[Series], stacked: bool) -> tuple[float, float]:
    columns = zip(*(one.values for one in series), strict=True)
    finite = [[v for v in column if not math.isnan(v)] for column in columns]
    most = max((sum(c) if stacked else max(c) for c in finite if c), default=0.0)
    return 0.0, max(most, panel["fieldConfig"]["defaults"].get("max", 0)) or 1.0


def _panel_size_px(panel: PanelJson) -> tuple[int, int]:
    grid = panel["gridPos"]
    return grid["w"] * _COLUMN_PX - 20, grid["h"] * 30 - 34


def _value_text(panel: PanelJson, value: float) -> str:
    named = _value_mappings(panel).get(value)
    field = panel["fieldConfig"]["defaults"]
    return named[0] if named else format_value(value, field["unit"], field.get("decimals"))


def _value_mappings(panel: PanelJson) -> dict[float | None, tuple[str, str]]:
    return {
        float(value): (option["text"], _COLORS[option["color"]])
        for mapping in panel["fieldConfig"]["defaults"]["mappings"]
        if mapping["type"] == "value"
        for value, option in mapping["options"].items()
    }


def _value_color(panel: PanelJson, value: float) -> str:
    if named := _value_mappings(panel).get(value):
        return named[1]
    color = "blue"
    for step in panel["fieldConfig"]["defaults"]["thresholds"]["steps"]:
        if step["value"] is None or value >= step["value"]:
            color = step["color"]
    return _COLORS[color]
