"""`hamlet cutover report`"""

from __future__ import annotations

import re
import time
from pathlib import Path
from typing import Annotated

import typer

from hamlet.migration.cli.session import (
    DEFAULT_CONFIG,
    ConfigFile,
    CutoverSession,
    exit_with_error,
    open_session,
)
from hamlet.migration.report import EvidenceReport, render_html, render_text
from hamlet.reporting.chart import ChartsUnavailable

_UNITS = {"m": 60.0, "h": 3600.0, "d": 86_400.0}


def report(
    feature: Annotated[str | None, typer.Argument(help="A feature; all of them by default")] = None,
    since: Annotated[str, typer.Option(help="How far back, such as 30m, 24h or 7d")] = "24h",
    html: Annotated[Path | None, typer.Option(help="Write an HTML page to this file")] = None,
    config: ConfigFile = DEFAULT_CONFIG,
) -> None:
    """Report the evidence: requests, comparisons, noise, latency, gate and journal."""
    match = re.fullmatch(r"(\d+)([mhd])", since)
    if match is None:
        exit_with_error(f"--since {since}: a number and m, h or d")
        return
    since_at = time.time() - int(match[1]) * _UNITS[match[2]]
    with open_session(config) as session:
        names = [feature] if feature else list(session.config.features)
        reports = [_build_report(session, name, since_at) for name in names]
        if html is None:
            print("\n".join(map(render_text, reports)))
        else:
            try:
                html.write_text(render_html(reports, time.time()), "utf-8")
            except ChartsUnavailable as error:
                exit_with_error(str(error))
            print(f"{html}: {', '.join(names)}")


def _build_report(session: CutoverSession, feature: str, since_at: float) -> EvidenceReport:
    _, state, evidence, reasons = session.check_gate(feature)
    entries = [
        e
        for e in session.controller.state_store.read_journal()
        if e.feature == feature and e.at >= since_at
    ]
    mismatches, series = session.evidence_collector.fetch_details(feature, since_at)
    return EvidenceReport(feature, state, evidence, reasons, entries, mismatches, series)
