"""Lines over the seconds of a run, each picture an SVG with its own title and key."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from hamlet.dashboards.image_chart import PALETTE, marks, pygal, rendered, style_of
from hamlet.dashboards.units import shown

_WIDTH, _HEIGHT = 760, 300
Rows = Mapping[str, Sequence[float]]


@dataclass(frozen=True, slots=True)
class Picture:
    """One chart: series by name over `times` (seconds), nan for none; `stacked` adds them up.

    `most` is the top of the scale, for pictures that are to be compared; else what is in them.
    """

    name: str
    title: str
    unit: str
    times: Sequence[float]
    series: Rows
    stacked: bool = False
    most: float | None = None

    @property
    def peak(self) -> float:
        """The highest that anything in it comes to."""
        columns = zip(*self.series.values(), strict=True)
        known = [[v for v in column if not math.isnan(v)] for column in columns]
        return max((sum(c) if self.stacked else max(c) for c in known if c), default=0.0)

    def svg(self) -> str:
        """The picture as a file that needs nothing else."""
        kind = pygal.StackedLine if self.stacked else pygal.Line
        chart = kind(**self._shape())
        # Not drawn by chance, so that the same run writes the same file.
        chart.uuid = self.name
        for name, values in self.series.items():
            chart.add(name, [None if math.isnan(v) else v for v in values])
        return rendered(chart)

    def _shape(self) -> dict[str, Any]:
        top = self.peak if self.most is None else self.most
        colors = style_of(PALETTE)
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
            **marks(self.times, 7, _clock),
            "value_formatter": lambda value: "" if value is None else shown(value, self.unit),
            "disable_xml_declaration": True,
            "range": (0.0, top or 1.0),
            "max_scale": 6,
        }


def _clock(seconds: float) -> str:
    return f"{int(seconds) // 60}:{int(seconds) % 60:02d}"
