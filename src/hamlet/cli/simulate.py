"""`hamlet fleet simulate`: replays a trace against a configuration in virtual time."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from hamlet.cli_support import exit_on_config_error
from hamlet.dashboards.simulation_report import comparison_charts, comparison_table, write_report
from hamlet.reporting.chart import ChartsUnavailable
from hamlet.simulator.load_breakdown import LoadBreakdown, TimeWindows
from hamlet.simulator.simulation import Simulation, load_arrivals
from hamlet.simulator.what_if import USAGE, parse_what_ifs

_DEFAULT_TRACE_S = 1200.0


def simulate(
    config: Annotated[
        Path, typer.Option(help="The configuration file; its secrets need not be set")
    ],
    trace: Annotated[
        Path | None,
        typer.Option(
            help="A CSV of arrival_s,prompt_tokens,completion_tokens[,class]; default: synthetic"
        ),
    ] = None,
    seconds: Annotated[
        float, typer.Option(help="Seconds of the trace to replay", min=1)
    ] = _DEFAULT_TRACE_S,
    rpm: Annotated[
        float, typer.Option(help="Requests per minute of a synthetic trace", min=1)
    ] = 750.0,
    route: Annotated[
        list[str] | None,
        typer.Option(help="The route of the requests; CLASS=ROUTE for one class of the trace"),
    ] = None,
    changes: Annotated[list[str] | None, typer.Option("--what-if", help=USAGE)] = None,
    out: Annotated[
        Path | None, typer.Option(help="A folder for an HTML report with charts")
    ] = None,
    seed: Annotated[int, typer.Option(help="The seed of all random choices")] = 1,
) -> None:
    """Replay a trace against a configuration in virtual time, as it is and with what-ifs."""
    with exit_on_config_error():
        scene = Simulation.from_file(config)
    try:
        plan = scene.traffic_plan(route or [])
        faults = parse_what_ifs(changes or [], scene.specs)
        arrivals = load_arrivals(trace, seconds, rpm, seed)
    except (OSError, ValueError) as error:
        typer.echo(f"hamlet: {error}", err=True)
        raise typer.Exit(2) from None
    windows = TimeWindows.covering(min(seconds, arrivals[-1].at_s + 1))
    runs = {"as it is": LoadBreakdown(scene.run(arrivals, seed, plan=plan), scene.pricing, windows)}
    if changes:
        report = scene.run(arrivals, seed, plan=plan, faults=faults)
        runs["what if"] = LoadBreakdown(report, scene.pricing, windows)
    table = comparison_table(runs)
    Console().print(_table(table))
    if out is not None:
        title = f"{config.name}: {', '.join(changes) if changes else 'as it is'}"
        try:
            write_report(out, title, table, comparison_charts(runs))
        except ChartsUnavailable as error:
            typer.echo(f"hamlet: {error}", err=True)
            raise typer.Exit(2) from None
        typer.echo(f"pictures in {out / 'index.html'}")


def _table(rows: Sequence[Sequence[str]]) -> Table:
    head, *body = rows
    table = Table(box=None, pad_edge=False)
    for i, name in enumerate(head):
        table.add_column(name, justify="right" if i else "left", no_wrap=True)
    for row in body:
        table.add_row(*row)
    return table
