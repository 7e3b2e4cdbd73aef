"""Runs of a simulated fleet side by side: a table, and pictures of load, spill and cost."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from html import escape
from pathlib import Path

from hamlet.dashboards.line_chart import Picture, Rows
from hamlet.dashboards.units import shown
from hamlet.simulator.statistics import Tally, carrying

_STYLE = (
    "body{font:14px system-ui,sans-serif;margin:24px auto;max-width:1560px;color:#222}"
    "table{border-collapse:collapse;margin:16px 0}td,th{padding:3px 14px;text-align:right;"
    "border-bottom:1px solid #e3e3e3}td:first-child,th:first-child{text-align:left}"
    ".pictures{display:grid;grid-template-columns:repeat(auto-fit,minmax(480px,1fr));gap:12px}"
    ".pictures svg{width:100%;height:auto}"
)


def facts(runs: Mapping[str, Tally]) -> list[list[str]]:
    """A table: its head, then one row per fact with a cell for each run."""
    tallies = list(runs.values())
    rows = [["", *runs]]
    rows += [[name, *(form(tally) for tally in tallies)] for name, form in _FACTS.items()]
    for tier in carrying(tallies):
        rows.append([f"load: {tier}", *(f"{tally.shares()[tier]:.2%}" for tally in tallies)])
    for code in sorted({code for tally in tallies for code in tally.report.errors}):
        rows.append([f"failed: {code}", *(str(t.report.errors[code]) for t in tallies)])
    return rows


_FACTS: Mapping[str, Callable[[Tally], str]] = {
    "requests": lambda t: str(len(t.report.outcomes)),
    "success": lambda t: f"{t.report.success:.3%}",
    "attempts per request": lambda t: f"{t.report.attempts_per_request:.3f}",
    "429s of attempts": lambda t: f"{t.report.refusal_share:.2%}",
    "first token p50": lambda t: f"{t.report.ttft_s(0.5):.2f} s",
    "first token p99": lambda t: f"{t.report.ttft_s(0.99):.2f} s",
    "paid per use": lambda t: f"{t.paid():.2%}",
    "cost": lambda t: _dollars(t.dollars()),
}


def _dollars(value: float) -> str:
    return "a price is unknown" if math.isnan(value) else shown(value, "currencyUSD")


def pictures(runs: Mapping[str, Tally]) -> list[Picture]:
    """Load and cost by tier of each run on one scale, then what compares in one picture."""
    tallies = list(runs.values())
    tiers = carrying(tallies)
    loads = [{tier: row for tier, row in t.load().items() if tier in tiers} for t in tallies]
    drawn = _alike("load", "Load by tier, input-equivalent tokens a minute", "none", runs, loads)
    costs = [t.cost() for t in tallies]
    if not any(math.isnan(t.dollars()) for t in tallies) and any(t.dollars() for t in tallies):
        drawn += _alike("cost", "Cost by tier, dollars a minute", "currencyUSD", runs, costs)
    return drawn + compared(runs)


def compared(runs: Mapping[str, Tally]) -> list[Picture]:
    """Goodput, spill, 429s and time to first token, one line per run."""
    times = next(iter(runs.values())).windows.times

    def each(value: Callable[[Tally], Sequence[float]]) -> Rows:
        return {name: value(tally) for name, tally in runs.items()}

    spill, late = each(Tally.paid_share), each(lambda t: t.ttft_s(0.99))
    return [
        Picture("goodput", "Goodput, output tokens a minute", "none", times, each(Tally.goodput)),
        Picture("spill", "Spill: part of the load paid per use", "percentunit", times, spill),
        Picture("429s", "Answers with 429 a minute", "none", times, each(Tally.refused)),
        Picture("ttft", "Time to first token, p99", "s", times, late),
    ]


def _alike(
    name: str, title: str, unit: str, runs: Mapping[str, Tally], rows: Sequence[Rows]
) -> list[Picture]:
    """One stacked picture per run, all on the scale of the highest."""
    drawn = [
        Picture(f"{name}-{i}", f"{title}: {run}", unit, tally.windows.times, row, stacked=True)
        for i, ((run, tally), row) in enumerate(zip(runs.items(), rows, strict=True))
    ]
    most = max(picture.peak for picture in drawn)
    return [replace(picture, most=most) for picture in drawn]


def write(
    folder: Path, about: str, table: Sequence[Sequence[str]], drawn: Sequence[Picture]
) -> None:
    """`index.html` with everything in it, and every picture as a file of its own."""
    folder.mkdir(parents=True, exist_ok=True)
    svgs = {picture.name: picture.svg() for picture in drawn}
    for name, svg in svgs.items():
        (folder / f"{name}.svg").write_text(svg + "\n", "utf-8")
    head, *rows = table
    page = (
        f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{escape(about)}</title>'
        f"<style>{_STYLE}</style><h1>{escape(about)}</h1><table>{_row(head, 'th')}"
        f"{''.join(_row(row, 'td') for row in rows)}</table>"
        f'<div class="pictures">{"".join(svgs.values())}</div></html>\n'
    )
    (folder / "index.html").write_text(page, "utf-8")


def _row(cells: Sequence[str], tag: str) -> str:
    return f"<tr>{''.join(f'<{tag}>{escape(cell)}</{tag}>' for cell in cells)}</tr>"
