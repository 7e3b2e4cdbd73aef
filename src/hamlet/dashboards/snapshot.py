"""All dashboards in one HTML file, drawn from a Prometheus: for mail, reviews and reports."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from html import escape
from pathlib import Path
from typing import Any

import httpx2

from hamlet.dashboards.query import Frame, ask
from hamlet.dashboards.render import drawn

_STYLE = (Path(__file__).parent / "snapshot.css").read_text("utf-8")
_HEAD = (
    '<!doctype html><html lang="en"><meta charset="utf-8"><title>hamlet</title>'
    f"<style>{_STYLE}</style>"
)


def page(boards: Sequence[Mapping[str, Any]], http: httpx2.Client, frame: Frame) -> str:
    """The whole file. Raises QueryError."""
    at = (
        datetime.fromtimestamp(t, UTC).strftime("%Y-%m-%d %H:%M") for t in (frame.start, frame.end)
    )
    when = " to ".join(at)
    links = "".join(f'<a href="#{b["uid"]}">{escape(b["title"])}</a>' for b in boards)
    parts = [_HEAD, f'<p class="about">{when} UTC</p><nav>{links}</nav>']
    for board in boards:
        parts.append(f'<h1 id="{board["uid"]}">{escape(board["title"])}</h1>')
        parts.append(f'<p class="about">{escape(board["description"])}</p>')
        parts += _rows(board["panels"], http, frame)
    return "".join(parts) + "</html>\n"


def _rows(panels: Sequence[Mapping[str, Any]], http: httpx2.Client, frame: Frame) -> list[str]:
    parts: list[str] = []
    for panel in panels:
        if panel["type"] == "row":
            parts.append("</div>" if parts else "")
            parts.append(f'<h2>{escape(panel["title"])}</h2><div class="grid">')
            top = panel["gridPos"]["y"]
            continue
        series = [one for target in panel["targets"] for one in ask(http, frame, target)]
        grid = panel["gridPos"]
        place = (
            f"grid-column:{grid['x'] + 1}/span {grid['w']};"
            f"grid-row:{grid['y'] - top}/span {grid['h']}"
        )
        title = f'<h3 title="{escape(panel["description"])}">{escape(panel["title"])}</h3>'
        body = drawn(panel, series, frame.times)
        parts.append(f'<section class="panel" style="{place}">{title}{body}</section>')
    return [*parts, "</div>"]
