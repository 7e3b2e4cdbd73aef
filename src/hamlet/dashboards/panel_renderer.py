"""Panels as HTML and SVG that stand by themselves: no script, no network."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from html import escape
from typing import Any

from hamlet.dashboards.prometheus_query import Series
from hamlet.dashboards.pygal_style import (
    PALETTE,
    LabelFormatter,
    axis_labels,
    make_style,
    pygal,
    render_svg,
)
from hamlet.dashboards.units import format_value

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
    """The body of one panel."""
    if not any(not math.isnan(one.last) for one in series):
        return '<p class="none">no data</p>'
    renderer = _RENDERERS[panel["type"]]
    return renderer(panel, series, times)


def _render_stat(panel: PanelJson, series: Sequence[Series], times: Sequence[float]) -> str:
    value = series[0].last
    return f'<p class="stat" style="color:{_value_color(panel, value)}">{escape(_value_text(panel, value))}</p>'


def _render_graph(panel: PanelJson, series: Sequence[Series], times: Sequence[float]) -> str:
    stacked = panel["fieldConfig"]["defaults"]["custom"]["stacking"]["mode"] == "normal"
    kind = pygal.StackedLine if stacked else pygal.Line
    # Where there are too many, the largest are what somebody looks for.
    largest = sorted(series, key=_max_value, reverse=True)[:_MAX_LINES]
    plotted = sorted(largest, key=lambda one: one.name)
    colors = _series_colors(panel, plotted)
    width, height = _panel_size_px(panel)
    legend_series = sorted(largest[:_MAX_LEGEND_ENTRIES], key=lambda one: one.name)
    height -= _LEGEND_LINE_PX * (1 + sum(len(one.name) + 4 for one in legend_series) * 6 // width)
    spans_days = times[-1] - times[0] > 86_400
    chart = kind(
        **_chart_options(panel, width, height),
        fill=stacked,
        show_dots=False,
        show_legend=False,
        show_minor_x_labels=False,
        **axis_labels(times, 5, *(_DATE_LABELS if spans_days else _TIME_LABELS)),
        range=_y_range(panel, series, stacked),
        style=make_style(tuple(colors)),
    )
    for one in plotted:
        chart.add(one.name, [None if math.isnan(v) else v for v in one.values])
    key = "".join(
        f'<em><i style="background:{color}"></i>{escape(one.name)}</em>'
        for one, color in zip(plotted, colors, strict=True)
        if one in legend_series
    )
    if len(series) > len(legend_series):
        key += f"<em>and {len(series) - len(legend_series)} more</em>"
    return f'{render_svg(chart)}<p class="key">{key}</p>'


def _time_formatter(form: str) -> LabelFormatter:
    return lambda at: datetime.fromtimestamp(at, UTC).strftime(form)


def _max_value(one: Series) -> float:
    return max((value for value in one.values if not math.isnan(value)), default=0.0)


def _series_colors(panel: PanelJson, series: Sequence[Series]) -> list[str]:
    """Those that the panel fixes, and for the others what is left of the palette."""
    fixed = [_fixed_color(panel, one.name) for one in series]
    left = iter([color for color in PALETTE if color not in fixed] + list(PALETTE))
    return [color or next(left) for color in fixed]


def _fixed_color(panel: PanelJson, name: str) -> str | None:
    """The colour that the panel fixes for a series."""
    for override in panel["fieldConfig"]["overrides"]:
        if override["matcher"]["options"] == name:
            return _COLORS[override["properties"][0]["value"]["fixedColor"]]
    return None


def _render_bars(panel: PanelJson, series: Sequence[Series], times: Sequence[float]) -> str:
    width, height = _panel_size_px(panel)
    rows = [one for one in series if not math.isnan(one.last)]
    chart = pygal.HorizontalBar(
        **_chart_options(panel, width, height),
        style=make_style(PALETTE),
        show_legend=False,
        print_values=True,
        print_values_position="top",
        spacing=2,
        margin_bottom=4,
        show_minor_y_labels=True,
        range=(
            0,
            max([one.last for one in rows] + [panel["fieldConfig"]["defaults"].get("max", 0)]) or 1,
        ),
    )
    # pygal draws its first row at the bottom.
    chart.x_labels = [one.name for one in reversed(rows)]
    chart.add("", [{"value": o.last, "color": _value_color(panel, o.last)} for o in reversed(rows)])
    return render_svg(chart)


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


_DATE_LABELS, _TIME_LABELS = (
    [_time_formatter("%d %b")],
    [_time_formatter("%H:%M"), _time_formatter("%H:%M:%S")],
)
_RENDERERS: dict[str, Callable[[PanelJson, Sequence[Series], Sequence[float]], str]] = {
    "stat": _render_stat,
    "timeseries": _render_graph,
    "bargauge": _render_bars,
    "table": _render_table,
    "state-timeline": _render_timeline,
}


def _chart_options(panel: PanelJson, width: int, height: int) -> dict[str, Any]:
    unit = panel["fieldConfig"]["defaults"]["unit"]
    return {
        "js": [],
        "width": width,
        "height": height,
        "margin": 6,
        "margin_right": 18,
        "formatter": lambda value: format_value(value, unit),
        "value_formatter": lambda value: "" if value is None else format_value(value, unit),
        "disable_xml_declaration": True,
        "show_y_guides": True,
        "truncate_label": -1,
        "max_scale": 5,
    }


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
