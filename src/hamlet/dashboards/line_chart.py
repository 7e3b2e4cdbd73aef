"""Lines over the seconds of a run, each picture an SVG with its own title and key."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from hamlet.dashboards.pygal_style import PALETTE, axis_labels, make_style, pygal, render_svg
from hamlet.dashboards.units import format_value

_WIDTH, _HEIGHT = 760, 300
SeriesByName = Mapping[str, Sequence[float]]


@dataclass(frozen=True, slots=True)
class LineChart:
    """One chart: series by name over `times` (seconds), nan for none; `stacked` adds them up.

    `most` is the top of the scale, for pictures that are to be compared; else what is in them.
    """

    name: str
    title: str
    unit: str
    times: Sequence[float]
    series: SeriesByName
    stacked: bool = False
    y_max: float | None = None

    @property
    def max_value(self) -> float:
        """The highest that anything in it comes to."""
        columns = zip(*self.series.values(), strict=True)
        known = [[v for v in column if not math.isnan(v)] for column in columns]
        return max((sum(c) if self.stacked else max(c) for c in known if c), default=0.0)

    def render_svg(self) -> str:
        """The picture as a file that needs nothing else."""
        kind = pygal.StackedLine if self.stacked else pygal.Line
        chart = kind(**self._chart_options())
        # Not drawn by chance, so that the same run writes the same file.
        chart.uuid = self.name
        for name, values in self.series.items():
            chart.add(name, [None if math.isnan(v) else v for v in values])
        return render_svg(chart)

    def _chart_options(self) -> dict[str, Any]:
        top = self.max_value if self.y_max is None else self.y_max
        colors = make_style(PALETTE)
        colors.background = colors.plot_background = "#ffffff"
        colors.legend_font_size, colors.title_font_size = 12, 14
        return {
            "js": [],
            "width": _WIDTH,
            "height": _HEIGHT,
            "title": self.title,
            "style": colors,
            "fill": self.stacked,
            "show_dots": False,
            "legend_at_bottom": True,
            "legend_at_bottom_columns": min(4, len(self.series)),
            "legend_box_size": 10,
            "truncate_legend": -1,
            "truncate_label": -1,
            "show_minor_x_labels": False,
            **axis_labels(self.times, 7, _format_minutes),
            "value_formatter": lambda value: (
                "" if value is None else format_value(value, self.unit)
            ),
            "disable_xml_declaration": True,
            "range": (0.0, top or 1.0),
            "max_scale": 6,
        }


def _format_minutes(seconds: float) -> str:
    return f"{int(seconds) // 60}:{int(seconds) % 60:02d}"
