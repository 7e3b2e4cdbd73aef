"""The bench's report: tables and charts."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from hamlet.reporting import chart
from hamlet.reporting.chart import ChartFrame
from loadtest.bench.peers.added_latency import AddedLatency
from loadtest.bench.peers.loop_blocking import LoopBlocking
from loadtest.bench.peers.streaming import STREAMS, StreamingResult
from loadtest.bench.rounds import MAX_OTHERS, MAX_STEAL, MIN_QUIET_ROUNDS, GatewayResult

HAMLET_NAME = "hamlet"
_WIDTH_PX, _BAR_PX = 690, 30
_OUR_COLOR, _OTHER_COLOR = "#c2410c", "#64748b"
Rows = Sequence[Sequence[str]]


@dataclass(frozen=True, slots=True)
class Findings:
    """All results of the bench; parts that were not measured are empty."""

    results: list[GatewayResult]
    added: list[AddedLatency]
    streamed: list[StreamingResult]
    loop_blocking: list[LoopBlocking]
    missing: list[str]


def write_report(found: Findings, out: Path) -> str:
    """Write table.md, result.json and a plot of each part into `out`; give the tables."""
    text = render_tables(found)
    (out / "table.md").write_text(text)
    (out / "result.json").write_text(json.dumps(asdict(found), indent=1))
    requests = {r.name: r.us for r in found.results}
    chunks = {s.name: s.us for s in found.streamed}
    if requests:
        title = "CPU microseconds a request"
        (out / "plot.svg").write_text(bar_chart(title, requests))
    if chunks:
        title = f"CPU microseconds a chunk, {STREAMS} streams"
        (out / "streams.svg").write_text(bar_chart(title, chunks))
    return text


def render_tables(found: Findings) -> str:
    """The tables as Markdown."""
    parts = [
        ("CPU a request, closed loop", _request_rows(found.results)),
        ("Other calls of hamlet, compared with its plain call", _variant_rows(found.results)),
        ("Latency added to a direct call, open loop", _added_latency_rows(found.added)),
        (f"{STREAMS} streams of ten chunks a second", _streaming_rows(found.streamed)),
        (
            "How long a call blocks hamlet's event loop: CPU ms of the longest iteration",
            _loop_blocking_rows(found.loop_blocking),
        ),
    ]
    text = "\n".join(
        f"### {title}\n\n{_markdown_table(rows)}\n" for title, rows in parts if rows[1:]
    )
    text += (
        f"\nA round is quiet with at most {MAX_STEAL:.0%} steal and {MAX_OTHERS} cores used by other programs; "
        f"only quiet rounds count. If fewer than {MIN_QUIET_ROUNDS} are quiet, the quietest {MIN_QUIET_ROUNDS} count, and times mean little.\n"
    )
    if found.missing:
        text += (
            f"Not measured, since not installed or not responding: {', '.join(found.missing)}.\n"
        )
    return text


def _markdown_table(rows: Rows) -> str:
    head, *body = rows
    lines = [head, ["---"] * len(head), *body]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _request_rows(results: Sequence[GatewayResult]) -> Rows:
    head = [
        "gateway", "CPU us/req, median (lowest)", "ratio to hamlet", "requests per CPU-s",
        "quiet rounds", "errors", "start to first 200, s", "idle MiB", "after load MiB",
        "connections opened per 10,000",
    ]  # fmt: skip
    ours = next((r.us for r in results if r.name == HAMLET_NAME), math.nan)
    return [
        head,
        *(
            [
                r.name,
                f"{r.us:.1f} ({r.us_min:.1f})",
                f"{r.us / ours:.2f}x",
                f"{1e6 / r.us:.0f}",
                f"{r.kept} of {r.rounds}",
                str(r.errors),
                f"{r.start_s:.2f}",
                f"{r.idle_mib:.0f}",
                f"{r.loaded_mib:.0f}",
                "-" if r.opened_per_10k is None else f"{r.opened_per_10k:.1f}",
            ]
            for r in sorted(results, key=lambda r: r.us)
            if not r.of_ours
        ),
    ]


def _variant_rows(results: Sequence[GatewayResult]) -> Rows:
    ours = next((r.us for r in results if r.name == HAMLET_NAME), math.nan)
    return [
        [
            "what",
            "CPU us/req, median (lowest)",
            "ratio to its plain call",
            "quiet rounds",
            "errors",
        ],
        *(
            [
                r.name,
                f"{r.us:.1f} ({r.us_min:.1f})",
                f"{r.us / ours:.2f}x",
                f"{r.kept} of {r.rounds}",
                str(r.errors),
            ]
            for r in results
            if r.of_ours
        ),
    ]


def _added_latency_rows(added: Sequence[AddedLatency]) -> Rows:
    return [
        ["gateway", "requests/s", "calls", "p50 ms", "p99 ms", "added p50", "added p99", "quiet rounds", "errors"],
        *(
            [
                a.name,
                f"{a.rate:g}",
                str(a.calls),
                f"{a.p50_ms:.2f}",
                f"{a.p99_ms:.2f}",
                f"{a.added_p50_ms:.2f}",
                f"{a.added_p99_ms:.2f}",
                f"{a.kept} of {a.rounds}",
                str(a.errors),
            ]
            for a in added
        ),
    ]  # fmt: skip


def _streaming_rows(streamed: Sequence[StreamingResult]) -> Rows:
    ours = next((s.us for s in streamed if s.name == HAMLET_NAME), math.nan)
    return [
        ["gateway", "CPU us per chunk", "ratio to hamlet", "chunks/s", "KiB per stream", "streams with chunks", "quiet rounds"],
        *(
            [
                s.name,
                f"{s.us:.1f}" if s.open else "-",
                f"{s.us / ours:.2f}x" if s.open else "-",
                f"{s.chunks_per_s:.0f}",
                f"{s.kib:.1f}" if s.open else "-",
                f"{s.open} of {STREAMS}",
                f"{s.kept} of {s.rounds}",
            ]
            for s in sorted(streamed, key=lambda s: s.us if s.open else math.inf)
        ),
    ]  # fmt: skip


def _loop_blocking_rows(results: Sequence[LoopBlocking]) -> Rows:
    return [
        ["bytes", "calls", "p50", "p95", "worst"],
        *(
            [str(h.size), str(h.calls), f"{h.p50_ms:.2f}", f"{h.p95_ms:.2f}", f"{h.worst_ms:.2f}"]
            for h in results
        ),
    ]


def bar_chart(title: str, values: dict[str, float]) -> str:
    """Bars on a logarithmic axis, the shortest first, as SVG. Values of 0 or nan are left out."""
    ordered = sorted((value, name) for name, value in values.items() if value > 0)
    frame = ChartFrame(
        width_px=_WIDTH_PX,
        height_px=60 + _BAR_PX * len(ordered),
        title=f"{title} (log scale, less is better)",
        background="#ffffff",
        format_value="{:.0f}".format,
        chart_id="bars",
    )
    bars = [
        chart.Bar(name, value, _OUR_COLOR if name.startswith(HAMLET_NAME) else _OTHER_COLOR)
        for value, name in ordered
    ]
    ends = (ordered[0][0] / 1.5, ordered[-1][0] * 1.5) if ordered else (1.0, 10.0)
    return chart.bar_chart(frame, bars, value_range=ends, log=True)
