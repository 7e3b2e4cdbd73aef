"""The evidence as text and as a self-contained HTML page, without scripts or external addresses."""

from __future__ import annotations

import html
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from hamlet.migration.counters import VERDICTS, FeatureCounters
from hamlet.migration.gate import Evidence
from hamlet.migration.rollout_document import Arm, FeatureState, JournalEntry
from hamlet.migration.window import wilson_interval

Points = Sequence[tuple[float, float]]

_STYLE = """
body{font:15px/1.5 system-ui,sans-serif;
max-width:62rem;margin:2rem auto;padding:0 1rem;color:#1b1f24}
table{border-collapse:collapse;margin:.5rem 0 1.5rem}td,th{padding:.25rem .8rem;text-align:left;
border-bottom:1px solid #d8dee4}th{font-weight:600}
td.n{text-align:right;font-variant-numeric:tabular-nums}
.open{color:#116329}.closed{color:#a40e26}h1{margin-bottom:0}small{color:#57606a}code{font-size:13px}
svg{background:#f6f8fa;border:1px solid #d8dee4;max-width:100%}svg text{font-size:11px;fill:#57606a}
section{overflow-x:auto}
"""
_COLOURS = {"new": "#0969da", "legacy": "#8250df"}


@dataclass(slots=True)
class EvidenceReport:
    """Everything that the report shows about one feature."""

    feature: str
    state: FeatureState
    evidence: Evidence
    blockers: list[str]
    entries: list[JournalEntry]
    mismatches: list[dict[str, Any]] = field(default_factory=list)
    series: dict[str, dict[str, Points]] = field(default_factory=dict)


def render_text(report: EvidenceReport) -> str:
    """A few lines for a terminal."""
    counters = report.evidence.counters
    low, high = counters.drift_excess()
    lines = [
        f"{report.feature}: {report.state.step_label}, evidence from {report.evidence.source}",
        f"  new arm: {counters.evaluated_new} requests, {counters.bad_new} bad, "
        f"{_format_interval(counters.bad_new, counters.evaluated_new)}",
        f"  hamlet1: {counters.legacy.total()} requests, {counters.legacy['failed']} failed",
        f"  compared: {counters.comparisons}: {_format_counts(counters.candidate)}",
        f"  hamlet1 with itself: {counters.noise.total()}: {_format_counts(counters.noise)}",
        f"  drift over the noise: {low:+.1%} to {high:+.1%}"
        if counters.comparisons
        else "  drift: unknown",
        "  gate: open" if not report.blockers else "  gate: closed: " + "; ".join(report.blockers),
    ]
    lines += [f"  {_format_time(e.at)} {_format_entry(e)}" for e in report.entries]
    return "\n".join(lines)


def render_html(reports: Sequence[EvidenceReport], made_at: float) -> str:
    """The page."""
    body = "".join(map(_render_feature, reports))
    return (
        "<!doctype html><html lang=en><meta charset=utf-8>"
        "<meta name=viewport content='width=device-width'><title>hamlet cutover</title>"
        f"<style>{_STYLE}</style><h1>From hamlet1 to hamlet</h1>"
        f"<small>{_format_time(made_at)} UTC. Paths, counts and times; no words of users.</small>"
        f"{body}</html>\n"
    )


def _render_feature(report: EvidenceReport) -> str:
    counters, state = report.evidence.counters, report.state
    gate = (
        "<p class=open>The gate to the next step is open.</p>"
        if not report.blockers
        else f"<p class=closed>The gate is closed:</p>{_bullet_list(report.blockers)}"
    )
    return (
        f"<section><h2>{_escape(report.feature)}: {_escape(state.step_label)}</h2>"
        + (f"<p class=closed>Held: {_escape(state.hold)}</p>" if state.hold else "")
        + gate
        + "<h3>Requests since the last transition</h3>"
        + _arms_table(counters, report.evidence.p95)
        + "<h3>Answers compared</h3>"
        + _verdicts_table(counters)
        + "".join(_render_chart(name, lines) for name, lines in report.series.items())
        + "<h3>Mismatches</h3>"
        + _mismatches_table(report.mismatches)
        + "<h3>Journal</h3>"
        + _table(
            ("when (UTC)", "what", "by", "why", "epoch"),
            [
                (
                    _format_time(e.at),
                    f"{e.before} → {e.after}",
                    f"{e.cause} {e.actor}",
                    e.why,
                    e.epoch,
                )
                for e in report.entries
            ],
        )
        + "</section>"
    )


def _arms_table(counters: FeatureCounters, p95: dict[str, Any]) -> str:
    rows: list[tuple[object, ...]] = []
    arms: tuple[tuple[Arm, Counter[str], int], ...] = (
        ("new", counters.new, counters.bad_new),
        ("legacy", counters.legacy, counters.legacy["failed"]),
    )
    for arm, counts, bad in arms:
        total = counts["ok"] + counts["failed"] + counts["rescued"]
        low, high = wilson_interval(bad, total)
        interval = f"{low:.2%} to {high:.2%}" if total else "-"
        found = [(p95.get(kind) or {}).get(arm) for kind in ("first", "total")]
        shown = [f"{seconds:.2f} s" if seconds is not None else "-" for seconds in found]
        usd = f"${counters.mean_usd(arm):.5f}" if counters.priced[arm] else "-"
        rows.append((arm, total, bad, counts["rescued"], interval, *shown, usd))
    times = ("first byte p95", "total p95")
    columns = ("arm", "requests", "bad", "rescued", "bad, 95 %", *times, "cost of an answer")
    return _table(columns, rows)


def _verdicts_table(counters: FeatureCounters) -> str:
    counts = (counters.candidate, counters.noise, counters.reverse)
    rows = [(v.replace("_", " "), *(count[v] for count in counts)) for v in VERDICTS]
    low, high = counters.drift_excess()
    drift = (
        f"<p>The new arm drifts {low:+.1%} to {high:+.1%} more often than hamlet1 from itself "
        "(95 % interval).</p>"
        if counters.comparisons
        else "<p>Nothing was compared here.</p>"
    )
    columns = ("verdict", "hamlet with hamlet1", "hamlet1 with itself", "hamlet1 asked afterwards")
    return _table(columns, rows) + drift


def _mismatches_table(rows: Sequence[dict[str, Any]]) -> str:
    if not rows:
        return "<p>None recently.</p>"
    columns = ("when (UTC)", "request", "verdict", "where", "length", "similarity")
    return _table(
        columns,
        [
            (
                _format_time(row["at"]),
                row["request_id"],
                f"{row['verdict']} ({row['kind']})",
                ", ".join(row["paths"]),
                row.get("length_ratio") or "",
                row.get("similarity") or "",
            )
            for row in rows
        ],
    )


def _render_chart(name: str, lines: dict[str, Points]) -> str:
    points = [point for line in lines.values() for point in line]
    if not points:
        return ""
    start_s, end_s = min(t for t, _ in points), max(t for t, _ in points)
    top = max(v for _, v in points) or 1.0

    def at(t: float, v: float) -> tuple[float, float]:
        return 20 + 660 * (t - start_s) / ((end_s - start_s) or 1), 150 - 130 * v / top

    drawn = "".join(
        _polyline(arm, [at(t, v) for t, v in line]) for arm, line in lines.items() if line
    )
    legend = ", ".join(
        f'<span style="color:{_COLOURS.get(a, "")}">{_escape(a)}</span>' for a in lines
    )
    return (
        f"<h3>{_escape(name)}</h3><p>{legend}</p>"
        f'<svg viewBox="0 0 700 172" width="700" height="172" role="img">'
        f'<path d="M20 20H680M20 150H680" stroke="#d8dee4"/>{drawn}'
        f'<text x="20" y="14">{_axis_label(name, top)}</text>'
        f'<text x="20" y="166">{_format_time(start_s)[5:16]}</text>'
        f'<text x="680" y="166" text-anchor="end">{_format_time(end_s)[5:16]}</text></svg>'
    )


def _polyline(arm: str, points: Sequence[tuple[float, float]]) -> str:
    """With a dot where it stands now: in the first minutes there is nothing else."""
    colour, (x, y) = _COLOURS.get(arm, "#57606a"), points[-1]
    coordinates = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
    return (
        f'<polyline fill="none" stroke="{colour}" stroke-width="2" points="{coordinates}"/>'
        f'<circle fill="{colour}" r="3" cx="{x:.1f}" cy="{y:.1f}"/>'
    )


def _axis_label(name: str, value: float) -> str:
    if name.startswith("Share"):
        return f"{value:.2%}"
    return f"{value:.3g} s" if name.startswith("Seconds") else f"{value:.3g}/s"


def _table(columns: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    head = "".join(f"<th>{_escape(c)}</th>" for c in columns)
    lines = "".join(f"<tr>{''.join(map(_cell, row))}</tr>" for row in rows)
    return f"<table><tr>{head}</tr>{lines}</table>"


def _cell(value: object) -> str:
    number = isinstance(value, (int, float))
    return f"<td{' class=n' if number else ''}>{_escape(str(value))}</td>"


def _bullet_list(rows: Sequence[str]) -> str:
    return f"<ul>{''.join(f'<li>{_escape(row)}</li>' for row in rows)}</ul>"


def _format_counts(counts: dict[str, int]) -> str:
    return ", ".join(f"{name} {count}" for name, count in sorted(counts.items())) or "none"


def _format_entry(entry: JournalEntry) -> str:
    why = f": {entry.why}" if entry.why else ""
    return f"{entry.before} -> {entry.after} by {entry.cause} {entry.actor}{why}"


def _format_interval(bad: int, total: int) -> str:
    low, high = wilson_interval(bad, total)
    return f"95 %: {low:.2%} to {high:.2%}" if total else "nothing known"


def _format_time(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%d %H:%M:%S")


def _escape(text: str) -> str:
    return html.escape(text)
