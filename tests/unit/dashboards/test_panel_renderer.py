"""What is drawn: numbers as people read them, and clear words when there is nothing to draw from."""

import json
import math
import re
import sys

import pytest
from typer.testing import CliRunner

from hamlet.cli import app
from hamlet.dashboards.line_chart import LineChart
from hamlet.dashboards.model_calls import OVERVIEW
from hamlet.dashboards.panel_renderer import render_panel
from hamlet.dashboards.prometheus_query import Series, TimeRange
from hamlet.dashboards.units import format_value


@pytest.mark.parametrize(
    ("value", "unit", "text"),
    [
        (math.nan, "s", "-"),
        (0.00042, "s", "420 µs"),
        (0.25, "s", "250 ms"),
        (2.5, "s", "2.5 s"),
        (600, "s", "10 min"),
        (0.0015, "percentunit", "0.15 %"),
        (0.5, "percentunit", "50 %"),
        (210_000_000, "bytes", "200 MiB"),
        (1536, "Bps", "1.5 KiB/s"),
        (12.25, "reqps", "12.2/s"),
        (4100, "none", "4.1k"),
        (0.0004, "currencyUSD", "$0.0004"),
        (1234.5, "currencyUSD", "$1,234.50"),
    ],
)
def test_numbers_are_shown_with_their_unit(value: float, unit: str, text: str) -> None:
    assert format_value(value, unit) == text


def find_panel(title: str) -> dict:
    return next(p for p in OVERVIEW.to_json()["panels"] if p["title"] == title)


def test_every_kind_of_panel_escapes_what_it_is_given() -> None:
    evil = Series("<script>x</script>", {"route": "<b>"}, (1.0, math.nan, 2.0))
    for title in ("Calls by route", "Outcomes", "Failing deployments", "Failed"):
        html = render_panel(find_panel(title), [evil], (0.0, 60.0, 120.0))
        assert "<script" not in html
        assert "<b>" not in html


def test_a_panel_without_data_says_so() -> None:
    nothing = Series("a", {}, (math.nan,))
    assert "no data" in render_panel(find_panel("Failed"), [nothing], (0.0,))
    assert "no data" in render_panel(find_panel("Failed"), [], (0.0,))


def axis_labels(svg: str) -> list[str]:
    axis = svg[svg.index('class="axis x"') :]
    return re.findall(r'class="major">([^<]+)</text>', axis)


@pytest.mark.parametrize(
    ("step_s", "count", "expected"),
    [
        (60, 361, ["00:00", "01:30", "03:00", "04:30", "06:00"]),
        (15, 41, ["00:00", "00:02", "00:05", "00:07", "00:10"]),
        (15, 9, ["00:00:00", "00:00:30", "00:01:00", "00:01:30", "00:02:00"]),
        (3600, 49, ["01 Jan", "02 Jan", "03 Jan"]),
        (20, 1, ["00:00"]),
    ],
)
def test_time_axis_labels_are_unique(step_s: int, count: int, expected: list[str]) -> None:
    times = [i * step_s for i in range(count)]
    html = render_panel(find_panel("Calls by route"), [Series("chat", {}, (1.0,) * count)], times)
    assert axis_labels(html) == expected


def test_short_range_axis_labels_are_unique() -> None:
    times = [i * 0.25 for i in range(13)]
    svg = LineChart("a", "A", "s", times, {"a": [1.0] * 13}).render_svg()
    assert axis_labels(svg) == ["0:00", "0:01", "0:02", "0:03"]


def test_default_variables_and_rate_windows() -> None:
    frame = TimeRange(0, 600, scrape_s=15)
    filled = frame.substitute_variables('rate(a{job=~"$job"}[$__rate_interval])')
    assert filled == 'rate(a{job=~".*"}[60s])'


def test_dashboards_are_exported_and_a_missing_prometheus_is_said_plainly(tmp_path) -> None:
    run = CliRunner().invoke
    assert run(app, ["dash", "export", "--out", str(tmp_path)]).exit_code == 0
    boards = [json.loads(file.read_text())["uid"] for file in tmp_path.glob("*.json")]
    assert len(boards) == 7
    options = ["dash", "snapshot", "--prom", "http://127.0.0.1:1", "--out", str(tmp_path / "x")]
    result = run(app, options)
    assert result.exit_code == 2
    assert "no Prometheus answers" in result.output
    assert run(app, [*options, "--uid", "nobody"]).exit_code == 2


def test_snapshot_without_pygal_names_the_extra(tmp_path, monkeypatch) -> None:
    def render_page(*_: object) -> str:
        monkeypatch.setitem(sys.modules, "pygal", None)
        return render_panel(find_panel("Calls by route"), [Series("chat", {}, (1.0,))], (0.0,))

    monkeypatch.setattr("hamlet.cli.dash.render_page", render_page)
    options = ["dash", "snapshot", "--prom", "http://127.0.0.1:1", "--out", str(tmp_path / "x")]
    result = CliRunner().invoke(app, options)
    assert result.exit_code == 2
    assert "pip install 'hamlet[dashboards]'" in result.output
