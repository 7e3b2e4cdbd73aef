"""Charts of a run as figures of an HTML report."""

from __future__ import annotations

from collections.abc import Mapping

from hamlet.reporting.chart import ChartFrame, Points, xy_chart
from hamlet.reporting.html import figure

_COLORS = ("#c2410c", "#2563eb", "#15803d", "#7c3aed", "#64748b")
_WIDTH_PX, _HEIGHT_PX = 620, 240


def plot(
    title: str, lines: Mapping[str, Points], *, x: str = "s", y: str = "", log_x: bool = False
) -> str:
    """One figure of lines by name. `x` and `y` are units; points whose y is no number are left out.

    Raises ChartsUnavailable without pygal.
    """
    frame = ChartFrame(
        width_px=_WIDTH_PX, height_px=_HEIGHT_PX, colors=_COLORS, background="#ffffff"
    )
    units = f"{y} over {x}" if y else x
    return figure(f"{title} ({units})", xy_chart(frame, lines, log_x=log_x))
