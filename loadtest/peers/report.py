"""The bench as a table and a plot."""

from __future__ import annotations

import json
import math
from pathlib import Path

from loadtest.peers.rounds import MAX_OTHERS, MAX_STEAL, QUIETEST, Result

_HEAD = (
    "| gateway | CPU us/req, median (lowest) | requests per CPU-s | hamlet is | quiet rounds | "
    "errors | start to first 200, s | idle MiB | after load MiB |\n|---|---|---|---|---|---|---|---|---|"
)


def write(results: list[Result], missing: list[str], out: Path) -> str:
    """Write table.md, plot.svg and result.json into `out`; give the table."""
    table = _table(results, missing)
    (out / "table.md").write_text(table)
    (out / "plot.svg").write_text(_plot(results))
    (out / "result.json").write_text(json.dumps([r.row() for r in results], indent=1))
    return table


def _table(results: list[Result], missing: list[str]) -> str:
    ours = results[0].us
    rows = [
        f"| {r.name} | {r.us:.1f} ({r.us_min:.1f}) | {1e6 / r.us:.0f} | {r.us / ours:.2f}x | "
        f"{r.kept} of {r.rounds} | {r.errors} | {r.start_s:.2f} | {r.idle_mib:.0f} | {r.loaded_mib:.0f} |"
        for r in sorted(results, key=lambda r: r.us)
    ]
    notes = (
        f"\nA round is quiet with at most {MAX_STEAL:.0%} steal and {MAX_OTHERS} cores used by strangers; "
        f"where fewer than {QUIETEST} are, the quietest {QUIETEST} count.\n"
    )
    if missing:
        notes += f"Not installed, not measured: {', '.join(missing)}.\n"
    return "\n".join([_HEAD, *rows]) + "\n" + notes


def _plot(results: list[Result]) -> str:
    """Bars of CPU time a request on a logarithmic axis."""
    ordered = sorted(results, key=lambda r: r.us)
    top = math.log10(ordered[-1].us * 1.5)
    low = math.log10(ordered[0].us / 1.5)
    rows = []
    for i, r in enumerate(ordered):
        width = (math.log10(r.us) - low) / (top - low) * 420
        colour = "#c2410c" if r.name.startswith("hamlet") else "#64748b"
        rows.append(
            f'<text x="150" y="{i * 26 + 42}" text-anchor="end">{r.name}</text>'
            f'<rect x="158" y="{i * 26 + 28}" width="{width:.0f}" height="19" fill="{colour}"/>'
            f'<text x="{164 + width:.0f}" y="{i * 26 + 42}">{r.us:.0f}</text>'
        )
    height = len(ordered) * 26 + 40
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 660 {height}" '
        f'font-family="sans-serif" font-size="12"><rect width="660" height="{height}" fill="#fff"/>'
        f'<text x="158" y="16" font-weight="bold">CPU microseconds a request (log scale, less is better)'
        f"</text>{''.join(rows)}</svg>"
    )
