"""Charts as SVG in the house style, without script or network. Drawing needs pygal.

pygal comes with the extra `dashboards` and is imported when the first chart is drawn.
"""

from __future__ import annotations

import math
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

PALETTE = (
    "#3d71c4", "#3f9c5a", "#e07b29", "#8c5fc0", "#d1433f", "#2aa5a0", "#b58a00", "#c2557f",
    "#5d6d7e", "#7aa33c", "#4a4fb0", "#a0522d",
)  # fmt: skip
_CHAR_PX = 6.5
_MIN_LABEL_SPACING_PX, _LABEL_GAP_PX = 70, 10
# What the labels of the y axis and the margins take of a chart's width.
_Y_AXIS_PX = 64
_LEGEND_BOX_PX = 34
# Below this ratio of its ends a logarithmic axis is labelled like a linear one.
_MIN_LOG_RATIO = 5.0

Formatter = Callable[[float], str]
Points = Sequence[tuple[float, float]]


class ChartsUnavailable(RuntimeError):
    """pygal is not installed; the message names the extra."""

    def __init__(self) -> None:
        super().__init__("charts need the extra: pip install 'hamlet[dashboards]'")


@dataclass(frozen=True, slots=True, kw_only=True)
class ChartFrame:
    """What every kind of chart has. `chart_id` becomes the prefix of its CSS rules.

    An SVG with a fixed `chart_id` is the same file at every run; it must be unique in a page.
    """

    width_px: int = 760
    height_px: int = 300
    title: str = ""
    colors: Sequence[str] = PALETTE
    background: str = "transparent"
    show_legend: bool = True
    format_value: Formatter = "{:g}".format
    chart_id: str = ""
    max_y_labels: int = 6


@dataclass(frozen=True, slots=True)
class TimeLabels:
    """A label for each point of the x axis, most of them empty, and those that are drawn."""

    texts: list[str]
    drawn: list[str]


def time_labels(times: Sequence[float], width_px: int, *formatters: Formatter) -> TimeLabels:
    """As many labels along `times` as a chart of that width has room for, none of them twice.

    The first of `formatters` whose labels all differ is used, or else the last.
    """
    for form in formatters:
        places = _label_places(times, width_px, form)
        # pygal draws every label whose text is among the drawn ones: equal texts count once.
        first = {form(times[place]): place for place in reversed(places)}
        if len(first) == len(places):
            break
    texts = {place: text for text, place in first.items()}
    return TimeLabels([texts.get(i, "") for i in range(len(times))], list(first))


def _label_places(times: Sequence[float], width_px: int, form: Formatter) -> list[int]:
    label_px = _CHAR_PX * len(form(times[-1])) + _LABEL_GAP_PX
    spacing_px = max(_MIN_LABEL_SPACING_PX, label_px)
    parts = max(1, int((width_px - _Y_AXIS_PX) / spacing_px))
    last = len(times) - 1
    return sorted({i * last // parts for i in range(parts + 1)})


def line_chart(
    frame: ChartFrame,
    series: Mapping[str, Sequence[float]],
    labels: TimeLabels,
    *,
    y_range: tuple[float, float],
    stacked: bool = False,
) -> str:
    """Lines over the points that `labels` names; nan leaves a gap. Raises ChartsUnavailable."""
    pygal = _import_pygal()
    kind = pygal.StackedLine if stacked else pygal.Line
    chart = kind(
        **_options(frame, series),
        fill=stacked,
        show_minor_x_labels=False,
        x_labels=labels.texts,
        x_labels_major=labels.drawn,
        range=y_range,
    )
    for name, values in series.items():
        chart.add(name, [None if math.isnan(value) else value for value in values])
    return _render(chart, frame)


def xy_chart(
    frame: ChartFrame,
    series: Mapping[str, Points],
    *,
    format_x: Formatter = "{:g}".format,
    log_x: bool = False,
) -> str:
    """Lines through points (x, y); the y axis includes 0. Raises ChartsUnavailable.

    Points without a finite y, and with `log_x` those at x <= 0, are left out. A line of one point
    is drawn as a dot.
    """
    drawable = {
        name: [(x, y) for x, y in points if math.isfinite(y) and (x > 0 or not log_x)]
        for name, points in series.items()
    }
    every = [point for points in drawable.values() for point in points] or [(1.0, 0.0)]
    low, high = min(x for x, _ in every), max(x for x, _ in every)
    position = _axis_position(low, log_x)
    ticks = _axis_labels(frame.width_px - _Y_AXIS_PX, (low, high), format_x, log_x)
    chart = _import_pygal().XY(
        **_options(frame, series),
        range=_range_with_zero([y for _, y in every]),
        x_labels=[{"value": position(tick), "label": text} for tick, text in ticks],
        no_data_text="nothing to show",
    )
    # pygal cannot draw an XY chart without any series.
    for name, line in (drawable or {"": []}).items():
        chart.add(name, [(position(x), y) for x, y in line], show_dots=len(line) == 1)
    return _render(chart, frame)


@dataclass(frozen=True, slots=True)
class Bar:
    """One bar. `color` is CSS; the first of the palette if empty."""

    name: str
    value: float  # in the unit of the axis
    color: str = ""


def bar_chart(
    frame: ChartFrame, bars: Sequence[Bar], *, value_range: tuple[float, float], log: bool = False
) -> str:
    """Horizontal bars from top to bottom, each with its value. Raises ChartsUnavailable.

    With `log` the value axis is logarithmic and the range must be above 0.
    """
    position = _axis_position(value_range[0], log)
    options = _options(frame, {})
    # Values are printed after their bars, the longest of which ends at the right margin.
    longest = max((len(frame.format_value(bar.value)) for bar in bars), default=0)
    options["margin_right"] += int(_CHAR_PX * longest)
    chart = _import_pygal().HorizontalBar(
        **options,
        formatter=frame.format_value,
        print_values=True,
        print_values_position="top",
        spacing=2,
        margin_bottom=4,
        show_minor_y_labels=True,
        range=tuple(map(position, value_range)),
    )
    names_px = _CHAR_PX * max((len(bar.name) for bar in bars), default=0)
    width_px = frame.width_px - names_px - options["margin_right"]
    ticks = _axis_labels(width_px, value_range, frame.format_value, log)
    chart.y_labels = [{"value": position(tick), "label": text} for tick, text in ticks]
    # pygal draws its first row at the bottom.
    rows = list(reversed(bars))
    chart.x_labels = [bar.name for bar in rows]
    chart.add("", [_bar_value(bar, frame, position) for bar in rows])
    return _render(chart, frame).replace('text-anchor="middle" x=', 'text-anchor="start" x=')


def _bar_value(bar: Bar, frame: ChartFrame, position: Callable[[float], float]) -> Any:
    text = frame.format_value(bar.value)
    color = bar.color or frame.colors[0]
    return {"value": position(bar.value), "color": color, "formatter": lambda _: text}


def axis_ticks(low: float, high: float, max_count: int) -> list[float]:
    """At most `max_count` values in [low, high] that are 1, 2 or 5 times a power of ten apart."""
    if high <= low:
        return [low]
    size = 10.0 ** math.floor(math.log10((high - low) / max_count))
    step = next(s * size for s in (1, 2, 5, 10, 20) if (high - low) / (s * size) < max_count)
    return [i * step for i in range(math.ceil(low / step), math.floor(high / step) + 1)]


def log_ticks(low: float, high: float, max_count: int) -> list[float]:
    """At most `max_count` values in [low, high] for a logarithmic axis. `low` is above 0."""
    if high / low < _MIN_LOG_RATIO:
        return axis_ticks(low, high, max_count)
    decades = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    inside: list[float] = []
    for factors in ((1, 2, 5), (1, 3), (1,)):
        ticks = [factor * 10.0**decade for decade in decades for factor in factors]
        inside = [tick for tick in ticks if low <= tick <= high]
        if len(inside) <= max_count:
            return inside
    return inside[:: math.ceil(len(inside) / max_count)]


def _range_with_zero(values: Sequence[float]) -> tuple[float, float]:
    low, high = min(0.0, *values), max(0.0, *values)
    return (low, high) if low < high else (0.0, 1.0)


def _axis_position(low: float, log: bool) -> Callable[[float], float]:
    """Where a value is on an axis. A logarithmic one begins at 0: there pygal draws its line."""
    return (lambda value: math.log10(value / low)) if log else float


def _axis_labels(
    width_px: float, ends: tuple[float, float], form: Formatter, log: bool
) -> list[tuple[float, str]]:
    """Values along an axis of that width and their labels, as many as fit next to each other."""
    make_ticks, count = (log_ticks if log else axis_ticks), 8
    while True:
        labels = [(t, form(float(f"{t:.12g}"))) for t in make_ticks(*ends, count)]
        widest_px = _CHAR_PX * max((len(text) for _, text in labels), default=0) + _LABEL_GAP_PX
        if count == 1 or len(labels) * widest_px <= width_px:
            return labels
        count -= 1


def _options(frame: ChartFrame, series: Mapping[str, object]) -> dict[str, Any]:
    legend_px = _CHAR_PX * max(map(len, series), default=0) + _LEGEND_BOX_PX
    columns = max(1, min(4, len(series), int((frame.width_px - 40) / legend_px)))
    return {
        "js": [],
        "width": frame.width_px,
        "height": frame.height_px,
        "title": frame.title or None,
        "style": _make_style(frame),
        "margin": 6,
        "margin_right": 18,
        "show_legend": frame.show_legend and bool(series),
        "legend_at_bottom": True,
        "legend_at_bottom_columns": columns,
        "legend_box_size": 10,
        "truncate_legend": -1,
        "truncate_label": -1,
        "show_y_guides": True,
        "show_x_guides": False,
        "show_dots": False,
        "max_scale": frame.max_y_labels,
        "value_formatter": lambda value: "" if value is None else frame.format_value(value),
        "disable_xml_declaration": True,
    }


def _make_style(frame: ChartFrame) -> Any:
    from pygal.style import Style

    return Style(
        background=frame.background,
        plot_background=frame.background,
        foreground="#444",
        foreground_strong="#222",
        foreground_subtle="#ccc",
        guide_stroke_color="#e3e3e3",
        major_guide_stroke_color="#e3e3e3",
        guide_stroke_dasharray="none",
        major_guide_stroke_dasharray="none",
        opacity=".75",
        transition="0s",
        colors=tuple(frame.colors),
        font_family="system-ui, sans-serif",
        label_font_size=11,
        major_label_font_size=11,
        value_font_size=10,
        legend_font_size=12,
        title_font_size=14,
        no_data_font_size=14,
        value_colors=("#222",) * 12,
    )


def _import_pygal() -> Any:
    """pygal without its import hook.

    pygal puts a finder for map plugins on `sys.meta_path` that has no `find_spec`: with it in
    place, Python 3.11 warns at every failing import of the process.
    """
    try:
        import pygal
    except ImportError:
        raise ChartsUnavailable from None
    sys.meta_path[:] = [f for f in sys.meta_path if type(f).__module__ != "pygal"]
    return pygal


def _render(chart: Any, frame: ChartFrame) -> str:
    if frame.chart_id:
        chart.uuid = frame.chart_id
    text: str = chart.render(is_unicode=True)
    text = re.sub(r"<!--.*?-->|<desc[^>]*>.*?</desc>|<title>.*?</title>", "", text, flags=re.DOTALL)
    # The script holds the data of tooltips, which no script is there to show.
    start = text.find("<script")
    return text if start < 0 else text[:start] + text[text.rindex("</script>") + 9 :]
