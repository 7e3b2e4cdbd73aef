"""Dashboards in one HTML file, with data from a Prometheus: for mail, reviews and reports."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx2

from hamlet.dashboards.panel_renderer import render_panel
from hamlet.dashboards.prometheus_query import TimeRange, query_series
from hamlet.reporting.html import escape, page

_STYLE = (Path(__file__).parent / "snapshot.css").read_text("utf-8")


def render_page(
    dashboards: Sequence[Mapping[str, Any]], http: httpx2.Client, time_range: TimeRange
) -> str:
    """The page of all dashboards over a time range. Raises QueryError, ChartsUnavailable."""
    at = (
        datetime.fromtimestamp(t, UTC).strftime("%Y-%m-%d %H:%M")
        for t in (time_range.start, time_range.end)
    )
    when = " to ".join(at)
    links = "".join(f'<a href="#{b["uid"]}">{escape(b["title"])}</a>' for b in dashboards)
    parts = [f'<p class="about">{when} UTC</p><nav>{links}</nav>']
    for board in dashboards:
        parts.append(f'<h1 id="{board["uid"]}">{escape(board["title"])}</h1>')
        parts.append(f'<p class="about">{escape(board["description"])}</p>')
        parts += _render_panels(board["panels"], http, time_range)
    return page("hamlet", "".join(parts), style=_STYLE)


def _render_panels(
    panels: Sequence[Mapping[str, Any]], http: httpx2.Client, time_range: TimeRange
) -> list[str]:
    parts: list[str] = []
    for panel in panels:
        if panel["type"] == "row":
            parts.append("</div>" if parts else "")
            parts.append(f'<h2>{escape(panel["title"])}</h2><div class="grid">')
            top = panel["gridPos"]["y"]
            continue
        series = [
            one for target in panel["targets"] for one in query_series(http, time_range, target)
        ]
        grid = panel["gridPos"]
        place = (
            f"grid-column:{grid['x'] + 1}/span {grid['w']};"
            f"grid-row:{grid['y'] - top}/span {grid['h']}"
        )
        title = f'<h3 title="{escape(panel["description"])}">{escape(panel["title"])}</h3>'
        body = render_panel(panel, series, time_range.times)
        parts.append(f'<section class="panel" style="{place}">{title}{body}</section>')
    return [*parts, "</div>"]
