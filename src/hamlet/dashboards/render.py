"""Panels as HTML and SVG that stand by themselves: no script, no network."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from html import escape
from typing import Any

from hamlet.dashboards.image_chart import PALETTE, Form, marks, pygal, rendered, style_of
from hamlet.dashboards.query import Series
from hamlet.dashboards.units import shown

_COLORS = {
    "green": "#3f9c5a",
    "yellow": "#d9a514",
    "red": "#d1433f",
    "blue": "#3d71c4",
    "orange": "#e07b29",
    "purple": "#8c5fc0",
    "gray": "#9aa0a6",
}
_MOST_LINES, _MOST_NAMES = 12, 7
_PIXELS = 46
_KEY_PIXELS = 17
Panel = Mapping[str, Any]


def drawn(panel: Panel, series: Sequence[Series], times: Sequence[float]) -> str:
    """The body of one panel."""
    if not any(not math.isnan(one.last) for one in series):
        return '<p class="none">no data</p>'
    draw = _DRAW[panel["type"]]
    return draw(panel, series, times)


def _stat(panel: Panel, series: Sequence[Series], times: Sequence[float]) -> str:
    value = series[0].last
    return f'<p class="stat" style="color:{_color(panel, value)}">{escape(_text(panel, value))}</p>'


def _graph(panel: Panel, series: Sequence[Series], times: Sequence[float]) -> str:
    stacked = panel["fieldConfig"]["defaults"]["custom"]["stacking"]["mode"] == "normal"
    kind = pygal.StackedLine if stacked else pygal.Line
    # Where there are too many, the largest are what somebody looks for.
    largest = sorted(series, key=_peak, reverse=True)[:_MOST_LINES]
    shown_ones = sorted(largest, key=lambda one: one.name)
    colors = _colors(panel, shown_ones)
    width, height = _size(panel)
    told = sorted(largest[:_MOST_NAMES], key=lambda one: one.name)
    height -= _KEY_PIXELS * (1 + sum(len(one.name) + 4 for one in told) * 6 // width)
    long = times[-1] - times[0] > 86_400
    chart = kind(
        **_shape(panel, width, height),
        fill=stacked,
        show_dots=False,
        show_legend=False,
        show_minor_x_labels=False,
        **marks(times, 5, *(_DAYS if long else _HOURS)),
        range=_range(panel, series, stacked),
        style=style_of(tuple(colors)),
    )
    for one in shown_ones:
        chart.add(one.name, [None if math.isnan(v) else v for v in one.values])
    key = "".join(
        f'<em><i style="background:{color}"></i>{escape(one.name)}</em>'
        for one, color in zip(shown_ones, colors, strict=True)
        if one in told
    )
    if len(series) > len(told):
        key += f"<em>and {len(series) - len(told)} more</em>"
    return f'{rendered(chart)}<p class="key">{key}</p>'


def _clock(form: str) -> Form:
    return lambda at: datetime.fromtimestamp(at, UTC).strftime(form)


def _peak(one: Series) -> float:
    return max((value for value in one.values if not math.isnan(value)), default=0.0)


def _colors(panel: Panel, series: Sequence[Series]) -> list[str]:
    """Those that the panel fixes, and for the others what is left of the palette."""
    fixed = [_named(panel, one.name) for one in series]
    left = iter([color for color in PALETTE if color not in fixed] + list(PALETTE))
    return [color or next(left) for color in fixed]


def _named(panel: Panel, name: str) -> str | None:
    """The colour that the panel fixes for a series."""
    for override in panel["fieldConfig"]["overrides"]:
        if override["matcher"]["options"] == name:
            return _COLORS[override["properties"][0]["value"]["fixedColor"]]
    return None


def _bars(panel: Panel, series: Sequence[Series], times: Sequence[float]) -> str:
    width, height = _size(panel)
    rows = [one for one in series if not math.isnan(one.last)]
    chart = pygal.HorizontalBar(
        **_shape(panel, width, height),
        style=style_of(PALETTE),
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
    chart.add("", [{"value": o.last, "color": _color(panel, o.last)} for o in reversed(rows)])
    return rendered(chart)


def _table(panel: Panel, series: Sequence[Series], times: Sequence[float]) -> str:
    names = sorted({name for one in series for name in one.labels} - {"__name__"})
    head = "".join(f"<th>{escape(name)}</th>" for name in (*names, "value"))
    rows = "".join(
        "<tr>"
        + "".join(f"<td>{escape(one.labels.get(name, ''))}</td>" for name in names)
        + f'<td class="number">{escape(_text(panel, one.last))}</td></tr>'
        for one in sorted(series, key=lambda s: -s.last)
    )
    return f"<table><tr>{head}</tr>{rows}</table>"


def _timeline(panel: Panel, series: Sequence[Series], times: Sequence[float]) -> str:
    known = _mapped(panel)
    rows = []
    for one in sorted(series, key=lambda s: s.name):
        spans = "".join(
            f'<i style="flex:{count};background:{known.get(value, ("", "transparent"))[1]}"></i>'
            for value, count in _runs(one.values)
        )
        rows.append(f"<div class=lane><b>{escape(one.name)}</b><span>{spans}</span></div>")
    legend = "".join(
        f'<em style="color:{color}">■ {escape(text)}</em> ' for text, color in known.values()
    )
    return f'<div class="lanes">{"".join(rows)}</div><p class="key">{legend}</p>'


def _runs(values: Sequence[float]) -> list[tuple[float | None, int]]:
    runs: list[tuple[float | None, int]] = []
    for value in values:
        state = None if math.isnan(value) else value
        if runs and runs[-1][0] == state:
            runs[-1] = (state, runs[-1][1] + 1)
        else:
            runs.append((state, 1))
    return runs


_DAYS, _HOURS = [_clock("%d %b")], [_clock("%H:%M"), _clock("%H:%M:%S")]
_DRAW: dict[str, Callable[[Panel, Sequence[Series], Sequence[float]], str]] = {
    "stat": _stat,
    "timeseries": _graph,
    "bargauge": _bars,
    "table": _table,
    "state-timeline": _timeline,
}


def _shape(panel: Panel, width: int, height: int) -> dict[str, Any]:
    unit = panel["fieldConfig"]["defaults"]["unit"]
    return {
        "js": [],
        "width": width,
        "height": height,
        "margin": 6,
        "margin_right": 18,
        "formatter": lambda value: shown(value, unit),
        "value_formatter": lambda value: "" if value is None else shown(value, unit),
        "disable_xml_declaration": True,
        "show_y_guides": True,
        "truncate_label": -1,
        "max_scale": 5,
    }


def _range(panel: Panel, series: Sequence[Series], stacked: bool) -> tuple[float, float]:
    columns = zip(*(one.values for one in series), strict=True)
    finite = [[v for v in column if not math.isnan(v)] for column in columns]
    most = max((sum(c) if stacked else max(c) for c in finite if c), default=0.0)
    return 0.0, max(most, panel["fieldConfig"]["defaults"].get("max", 0)) or 1.0


def _size(panel: Panel) -> tuple[int, int]:
    grid = panel["gridPos"]
    return grid["w"] * _PIXELS - 20, grid["h"] * 30 - 34


def _text(panel: Panel, value: float) -> str:
    named = _mapped(panel).get(value)
    field = panel["fieldConfig"]["defaults"]
    return named[0] if named else shown(value, field["unit"], field.get("decimals"))


def _mapped(panel: Panel) -> dict[float | None, tuple[str, str]]:
    return {
        float(value): (option["text"], _COLORS[option["color"]])
        for mapping in panel["fieldConfig"]["defaults"]["mappings"]
        if mapping["type"] == "value"
        for value, option in mapping["options"].items()
    }


def _color(panel: Panel, value: float) -> str:
    if named := _mapped(panel).get(value):
        return named[1]
    color = "blue"
    for step in panel["fieldConfig"]["defaults"]["thresholds"]["steps"]:
        if step["value"] is None or value >= step["value"]:
            color = step["color"]
    return _COLORS[color]
