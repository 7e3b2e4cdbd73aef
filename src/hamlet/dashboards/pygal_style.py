"""pygal in the house style, and without its hook into Python's imports.

The hook, for maps we have none of, speaks a protocol that Python gave up: with it in place every
import that fails anywhere in the process warns.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Sequence
from typing import Any

import pygal
from pygal.style import Style

sys.meta_path[:] = [finder for finder in sys.meta_path if type(finder).__module__ != "pygal"]

__all__ = ["PALETTE", "LabelFormatter", "axis_labels", "make_style", "pygal", "render_svg"]

PALETTE = (
    "#3d71c4", "#3f9c5a", "#e07b29", "#8c5fc0", "#d1433f", "#2aa5a0", "#b58a00", "#c2557f",
    "#5d6d7e", "#7aa33c", "#4a4fb0", "#a0522d",
)  # fmt: skip


LabelFormatter = Callable[[float], str]


def axis_labels(
    times: Sequence[float], max_labels: int, *formatters: LabelFormatter
) -> dict[str, list[str]]:
    """pygal's options for at most so many texts along the times, evenly, and none of them twice.

    The first form that tells them all apart is taken, or else the last. pygal draws every label
    whose text is among the major ones, so those between are empty.
    """
    last, parts = len(times) - 1, max_labels - 1
    places = sorted({i * last // parts for i in range(max_labels)})
    for form in formatters:
        first = {form(times[place]): place for place in reversed(places)}
        if len(first) == len(places):
            break
    texts = {place: text for text, place in first.items()}
    return {
        "x_labels": [texts.get(place, "") for place in range(len(times))],
        "x_labels_major": list(first),
    }


def make_style(colors: tuple[str, ...]) -> Any:
    """pygal's style with these colours of series."""
    return Style(
        background="transparent",
        plot_background="transparent",
        foreground="#444",
        foreground_strong="#222",
        foreground_subtle="#ccc",
        guide_stroke_color="#e3e3e3",
        major_guide_stroke_color="#e3e3e3",
        guide_stroke_dasharray="none",
        major_guide_stroke_dasharray="none",
        opacity=".75",
        transition="0s",
        colors=colors,
        font_family="system-ui, sans-serif",
        label_font_size=11,
        major_label_font_size=11,
        value_font_size=10,
        value_colors=("#222",) * 12,
    )


def render_svg(chart: Any) -> str:
    """A chart as SVG that stands by itself: no script, no network."""
    text: str = chart.render(is_unicode=True)
    text = re.sub(r"<!--.*?-->|<desc[^>]*>.*?</desc>|<title>.*?</title>", "", text, flags=re.DOTALL)
    # With no script to read it, what pygal keeps for its tooltips is ballast.
    start = text.find("<script")
    return text if start < 0 else text[:start] + text[text.rindex("</script>") + 9 :]
