"""`hamlet doctor`: checks whether a configuration can work on this machine, and what to fix."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.text import Text

from hamlet.doctor import Finding, Level, examine
from hamlet.telemetry import make_log

_STYLES: dict[Level, str] = {
    "ok": "green", "skipped": "dim", "warning": "yellow", "failed": "bold red",
}  # fmt: skip


def doctor(
    config: Annotated[
        Path | None,
        typer.Option("--config", help="The YAML file; by default the built-in configuration"),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON")] = False,
) -> None:
    """Check machine, configuration, keys, Redis and clock; status 1 if a check failed.

    Every deployment gets one call for one token, which may cost a fraction of a cent.
    """
    findings = asyncio.run(examine(config, make_log("error")))
    failed = sum(finding.level == "failed" for finding in findings)
    if as_json:
        rows = [asdict(finding) for finding in findings]
        print(json.dumps({"ok": not failed, "findings": rows}, indent=2, ensure_ascii=False))
    else:
        _print_findings(findings, failed)
    raise typer.Exit(1 if failed else 0)


def _print_findings(findings: Sequence[Finding], failed: int) -> None:
    console = Console(soft_wrap=True, highlight=False)
    for finding in findings:
        level = Text(f"{finding.level:<8}", style=_STYLES[finding.level])
        console.print(level + Text(f" {finding.check:<9} {finding.subject}: {finding.message}"))
        if finding.advice:
            console.print(Text(f"{'':<18} -> {finding.advice}"))
    warnings = sum(finding.level == "warning" for finding in findings)
    console.print(f"{failed} failed, {warnings} warnings, {len(findings)} checked")
