"""`hamlet cutover report`"""

from __future__ import annotations

import re
import time
from pathlib import Path
from typing import Annotated

import typer

from hamlet.migration.cli.app import cutover
from hamlet.migration.cli.context import CONFIG, ConfigFile, Desk, at_desk, stop
from hamlet.migration.report import Report, as_html, as_text

_UNITS = {"m": 60.0, "h": 3600.0, "d": 86_400.0}


@cutover.command()
def report(
    feature: Annotated[str | None, typer.Argument(help="All of them if not given")] = None,
    since: Annotated[str, typer.Option(help="How far back: 30m, 24h, 7d")] = "24h",
    html: Annotated[Path | None, typer.Option(help="Write a page for people to this file")] = None,
    config: ConfigFile = CONFIG,
) -> None:
    """Tell the evidence: requests, verdicts, noise, latency, the gate, the journal."""
    match = re.fullmatch(r"(\d+)([mhd])", since)
    if match is None:
        stop(f"--since {since}: a number and m, h or d")
        return
    begin = time.time() - int(match[1]) * _UNITS[match[2]]
    with at_desk(config) as desk:
        names = [feature] if feature else list(desk.config.features)
        reports = [_report(desk, name, begin) for name in names]
        if html is None:
            print("\n".join(map(as_text, reports)))
        else:
            html.write_text(as_html(reports, time.time()), "utf-8")
            print(f"{html}: {', '.join(names)}")


def _report(desk: Desk, feature: str, begin: float) -> Report:
    _, state, evidence, reasons = desk.gate(feature)
    entries = [e for e in desk.board.store.journal() if e.feature == feature and e.at >= begin]
    mismatches, series = desk.witness.details(feature, begin)
    return Report(feature, state, evidence, reasons, entries, mismatches, series)
