"""Lines over the seconds of a run, each chart an SVG file with its own title and legend."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from hamlet.dashboards.units import format_value
from hamlet.reporting.chart import ChartFrame, line_chart, time_labels

_WIDTH_PX = 760
SeriesByName = Mapping[str, Sequence[float]]


@dataclass(frozen=True, slots=True)
class LineChart:
    """Series by name over `times` (seconds); nan is a gap. `stacked` draws their sum.

    `unit` is Grafana's name of a unit. `y_max` is the top of the scale, for charts that are
    compared with one another; without it the scale ends at the highest value. `name` is the
    file's name and unique in a report.
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
        """The highest value, or the highest sum if stacked; 0 without any value."""
        columns = zip(*self.series.values(), strict=True)
        finite = [[v for v in column if not math.isnan(v)] for column in columns]
        return max((sum(c) if self.stacked else max(c) for c in finite if c), default=0.0)

    def render_svg(self) -> str:
        """The chart as an SVG document. Raises ChartsUnavailable without pygal."""
        top = self.max_value if self.y_max is None else self.y_max
        frame = ChartFrame(
            width_px=_WIDTH_PX,
            title=self.title,
            background="#ffffff",
            format_value=lambda value: format_value(value, self.unit),
            chart_id=self.name,
        )
        labels = time_labels(self.times, _WIDTH_PX, _format_minutes)
        return line_chart(
            frame, self.series, labels, y_range=(0.0, top or 1.0), stacked=self.stacked
        )


def _format_minutes(seconds: float) -> str:
    return f"{int(seconds) // 60}:{int(seconds) % 60:02d}"
