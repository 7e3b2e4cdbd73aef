"""`hamlet dash export | snapshot`: the dashboards as JSON files, and drawn without Grafana."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Annotated, Any

import httpx2
import typer

from hamlet.cli_support import error_exit
from hamlet.dashboards.build import DASHBOARDS
from hamlet.dashboards.prometheus_query import QueryError, TimeRange
from hamlet.dashboards.snapshot import render_page
from hamlet.reporting.chart import ChartsUnavailable

dash = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    help="Export or draw the dashboards of hamlet's metrics.",
)
_Out = Annotated[Path, typer.Option("--out", help="The folder or file to write")]


@dash.command()
def export(out: _Out = Path("dashboards")) -> None:
    """Write the dashboards as JSON files for Grafana."""
    out.mkdir(parents=True, exist_ok=True)
    for board in DASHBOARDS:
        (out / f"{board.uid}.json").write_text(
            json.dumps(board.to_json(), indent=2) + "\n", "utf-8"
        )
    typer.echo(f"{len(DASHBOARDS)} dashboards in {out}")


@dash.command()
def snapshot(
    prom: Annotated[str, typer.Option("--prom", help="The URL of Prometheus")],
    out: _Out = Path("hamlet.html"),
    hours: Annotated[float, typer.Option(help="Hours to look back", min=0.01)] = 6.0,
    end: Annotated[
        float | None, typer.Option(help="The end, in Unix seconds; now by default")
    ] = None,
    uid: Annotated[
        list[str] | None, typer.Option(help="Only the dashboards with these uids")
    ] = None,
    folder: Annotated[
        Path | None, typer.Option(help="A folder of JSON files to draw instead of hamlet's own")
    ] = None,
    scrape_s: Annotated[
        float, typer.Option(help="Prometheus's scrape interval, in seconds")
    ] = 15.0,
) -> None:
    """Draw the dashboards into one HTML file, without scripts or external resources."""
    boards = [board for board in _load_dashboards(folder) if not uid or board["uid"] in uid]
    if not boards:
        raise error_exit("no such dashboard")
    last = time.time() if end is None else end
    time_range = TimeRange(last - hours * 3600, last, scrape_s)
    with httpx2.Client(base_url=prom, timeout=60) as http:
        try:
            out.write_text(render_page(boards, http, time_range), "utf-8")
        except (QueryError, ChartsUnavailable) as error:
            raise error_exit(str(error)) from None
    typer.echo(f"{len(boards)} dashboards in {out}")


def _load_dashboards(folder: Path | None) -> list[dict[str, Any]]:
    if folder is None:
        return [board.to_json() for board in DASHBOARDS]
    try:
        return [json.loads(file.read_text("utf-8")) for file in sorted(folder.glob("*.json"))]
    except (OSError, ValueError) as error:
        raise error_exit(f"{folder}: {type(error).__name__}") from None
