"""Charts as SVG: axes, legends, and what importing and drawing leave behind."""

import math
import re
import subprocess
import sys
from itertools import pairwise

import pytest

from hamlet.reporting.chart import (
    Bar,
    ChartFrame,
    ChartsUnavailable,
    axis_ticks,
    bar_chart,
    log_ticks,
    time_labels,
    xy_chart,
)

IMPORTS = """
import sys
from itertools import pairwise
before = list(sys.meta_path)
from hamlet.reporting import chart
assert sys.meta_path == before and "pygal" not in sys.modules
chart.xy_chart(chart.ChartFrame(), {"a": [(0, 1), (1, 2)]})
assert "pygal" in sys.modules
assert all(hasattr(finder, "find_spec") for finder in sys.meta_path)
"""
LEGEND = re.compile(r'<g id="activate-serie-\d+".*?</g>', re.DOTALL)


def legend_positions(svg: str) -> dict[str, tuple[float, float]]:
    """Where the text of each legend entry is, relative to the plot's bottom left corner."""
    found = {}
    for entry in LEGEND.findall(svg):
        place = re.search(r'<text x="([\d.]+)" y="([\d.]+)">(.*?)</text>', entry, re.DOTALL)
        assert place is not None
        found[place[3]] = (float(place[1]), float(place[2]))
    return found


def test_import_has_no_effect_and_drawing_removes_pygals_import_hook() -> None:
    subprocess.run([sys.executable, "-W", "error", "-c", IMPORTS], check=True)


def test_missing_pygal_names_the_extra(monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "pygal", None)
    with pytest.raises(ChartsUnavailable, match=r"hamlet\[dashboards\]"):
        xy_chart(ChartFrame(), {"a": [(0, 1)]})


def test_legend_entries_do_not_overlap() -> None:
    names = [f"the line that is called {i} & more" for i in range(5)]
    svg = xy_chart(ChartFrame(width_px=620), {n: [(0, 0), (1, 1 + i)] for i, n in enumerate(names)})
    places = legend_positions(svg)
    assert [*places] == [name.replace("&", "&amp;") for name in names]
    for one in places.values():
        for other in places.values():
            same_line = abs(one[1] - other[1]) < 10
            assert one == other or not same_line or abs(one[0] - other[0]) > 6 * len(names[0])


def test_same_chart_with_an_id_is_the_same_file() -> None:
    frame = ChartFrame(chart_id="a")
    lines = {"a": [(0, 1), (1, math.nan), (2, 3)]}
    assert xy_chart(frame, lines) == xy_chart(frame, lines)


def test_single_point_is_drawn_as_a_dot() -> None:
    assert "<circle" in xy_chart(ChartFrame(), {"a": [(5.0, 2.0)]})
    assert "<circle" not in xy_chart(ChartFrame(), {"a": [(5.0, 2.0), (6.0, 1.0)]})


@pytest.mark.parametrize("lines", [{}, {"a": []}, {"a": [(1, math.nan)]}])
def test_chart_without_points_says_so(lines) -> None:
    assert "nothing to show" in xy_chart(ChartFrame(), lines)


@pytest.mark.parametrize(
    ("low", "high", "count", "ticks"),
    [
        (0, 10, 6, [0, 2, 4, 6, 8, 10]),
        (3, 3, 6, [3]),
        (0, 1, 6, [0, 0.2, 0.4, 0.6, 0.8, 1]),
        (13, 587, 8, [100, 200, 300, 400, 500]),
    ],
)
def test_linear_ticks(low, high, count, ticks) -> None:
    assert axis_ticks(low, high, count) == pytest.approx(ticks)


@pytest.mark.parametrize(
    ("low", "high", "count", "ticks"),
    [
        (1, 100, 8, [1, 2, 5, 10, 20, 50, 100]),
        (1, 1000, 8, [1, 3, 10, 30, 100, 300, 1000]),
        (1, 1e6, 8, [1, 10, 100, 1e3, 1e4, 1e5, 1e6]),
        (1, 1e12, 7, [1, 100, 1e4, 1e6, 1e8, 1e10, 1e12]),
        (300, 340, 8, [300, 305, 310, 315, 320, 325, 330, 335, 340]),
    ],
)
def test_logarithmic_ticks(low, high, count, ticks) -> None:
    assert log_ticks(low, high, count + (low == 300)) == pytest.approx(ticks)


def test_time_labels_fit_the_width() -> None:
    times = [float(i) for i in range(240)]
    narrow = time_labels(times, 348, lambda at: f"{at:08.0f}")
    wide = time_labels(times, 1100, lambda at: f"{at:08.0f}")
    assert len(narrow.drawn) == 5
    assert 5 < len(wide.drawn) <= (1100 - 64) / 62 + 1
    assert len(narrow.texts) == len(times)
    assert [text for text in narrow.texts if text] == sorted(narrow.drawn)


def test_negative_values_are_below_the_zero_line() -> None:
    svg = xy_chart(ChartFrame(), {"a": [(0, -2.0), (1, -1.0)]})
    assert re.search(r">-2<", svg)
    assert re.search(r">0<", svg)


def test_bars_are_in_the_given_order_and_logarithmic_bars_keep_their_values() -> None:
    svg = bar_chart(
        ChartFrame(), [Bar("first", 20), Bar("second", 9000)], value_range=(10, 13500), log=True
    )
    assert re.search(r">\s*9000\s*<", svg)
    y = {
        name: float(re.search(rf'y="([\d.]+)"[^>]*>{name}<', svg)[1])
        for name in ("first", "second")
    }
    assert y["first"] < y["second"]


@pytest.mark.parametrize("top", [0.33, 1.0, 12_345.0])
def test_value_labels_beneath_narrow_bars_do_not_overlap(top: float) -> None:
    frame = ChartFrame(width_px=348, format_value=lambda value: f"{value * 1000:.0f} ms")
    svg = bar_chart(frame, [Bar("azure-germanywestcentral/gpt-4o", top)], value_range=(0, top))
    axis = svg[svg.index('class="axis x') : svg.index('class="series')]
    labels = re.findall(r'<text x="([\d.]+)"[^>]*>([^<]+)</text>', axis)
    assert labels[0][1] == "0 ms"
    for (x, _), (next_x, text) in pairwise(labels):
        assert float(next_x) - float(x) > 6 * len(text)
