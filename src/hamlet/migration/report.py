"""The evidence as text and as a self-contained HTML page, without scripts or external addresses."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from hamlet.migration.counters import VERDICTS, FeatureCounters
from hamlet.migration.gate import Evidence
from hamlet.migration.rollout_document import Arm, FeatureState, JournalEntry
from hamlet.migration.window import wilson_interval
from hamlet.reporting import html
from hamlet.reporting.chart import ChartFrame, Points, xy_chart

_STYLE = (
    "body{max-width:62rem}.open{color:#116329}.closed{color:#a40e26}h1{margin-bottom:0}"
    "small{color:#57606a}section{overflow-x:auto}"
)
_COLORS = {"new": "#0969da", "legacy": "#8250df"}
_OTHER_COLOR = "#57606a"


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
    """The page of all features; `made_at` is Unix seconds. Raises ChartsUnavailable."""
    about = f"{_format_time(made_at)} UTC. Paths, counts and times; no words of users."
    body = f"<h1>From hamlet1 to hamlet</h1><small>{about}</small>"
    body += "".join(map(_render_feature, reports))
    return html.page("hamlet cutover", body, style=_STYLE)


def _render_feature(report: EvidenceReport) -> str:
    counters, state = report.evidence.counters, report.state
    gate = (
        "<p class=open>The gate to the next step is open.</p>"
        if not report.blockers
        else f"<p class=closed>The gate is closed:</p>{html.unordered_list(report.blockers)}"
    )
    return (
        f"<section><h2>{html.escape(report.feature)}: {html.escape(state.step_label)}</h2>"
        + (f"<p class=closed>Held: {html.escape(state.hold)}</p>" if state.hold else "")
        + gate
        + "<h3>Requests since the last transition</h3>"
        + _arms_table(counters, report.evidence.p95)
        + "<h3>Answers compared</h3>"
        + _verdicts_table(counters)
        + "".join(_render_chart(name, lines) for name, lines in report.series.items())
        + "<h3>Mismatches</h3>"
        + _mismatches_table(report.mismatches)
        + "<h3>Journal</h3>"
        + html.table(
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
    return html.table(columns, rows)


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
    return html.table(columns, rows) + drift


def _mismatches_table(rows: Sequence[dict[str, Any]]) -> str:
    if not rows:
        return "<p>None recently.</p>"
    columns = ("when (UTC)", "request", "verdict", "where", "length", "similarity")
    return html.table(
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


def _render_chart(name: str, lines: Mapping[str, Points]) -> str:
    if not any(lines.values()):
        return ""
    frame = ChartFrame(
        width_px=700,
        height_px=220,
        colors=[_COLORS.get(arm, _OTHER_COLOR) for arm in lines],
        format_value=lambda value: _format_axis_value(name, value),
    )
    svg = xy_chart(frame, lines, format_x=lambda at: _format_time(at)[5:16])
    return f"<h3>{html.escape(name)}</h3>{html.inline_svg(svg)}"


def _format_axis_value(name: str, value: float) -> str:
    if name.startswith("Share"):
        return f"{value:.2%}"
    return f"{value:.3g} s" if name.startswith("Seconds") else f"{value:.3g}/s"


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
