"""`hamlet fleet simulate`: a configuration under a trace on virtual time, and what if."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from hamlet.cli_support import failing_cleanly
from hamlet.dashboards.simulated_history import facts, pictures, write
from hamlet.simulator.setting import Scene, load_of
from hamlet.simulator.statistics import Tally, Windows
from hamlet.simulator.what_if import USAGE, what_if

_WHOLE_S = 1200.0


def simulate(
    config: Annotated[Path, typer.Option(help="The configuration; no secret has to be at hand")],
    trace: Annotated[
        Path | None,
        typer.Option(help="arrival_s,prompt_tokens,completion_tokens[,class]; else one is made"),
    ] = None,
    seconds: Annotated[float, typer.Option(help="Play so much of the trace", min=1)] = _WHOLE_S,
    rpm: Annotated[float, typer.Option(help="Of a trace that is made", min=1)] = 750.0,
    route: Annotated[
        list[str] | None,
        typer.Option(help="The route that requests name; CLASS=ROUTE for one class of the trace"),
    ] = None,
    what: Annotated[list[str] | None, typer.Option("--what-if", help=USAGE)] = None,
    out: Annotated[Path | None, typer.Option(help="A folder for pictures")] = None,
    seed: int = 1,
) -> None:
    """Play a trace against a configuration's fleet on virtual time, as it is and if ..."""
    with failing_cleanly():
        scene = Scene.read(config)
    try:
        plan = scene.plan(route or [])
        faults = what_if(what or [], scene.specs)
        arrivals = load_of(trace, seconds, rpm, seed)
    except (OSError, ValueError) as error:
        typer.echo(f"hamlet: {error}", err=True)
        raise typer.Exit(2) from None
    windows = Windows.over(min(seconds, arrivals[-1].at_s + 1))
    runs = {"as it is": Tally(scene.play(arrivals, seed, plan=plan), scene.places, windows)}
    if what:
        report = scene.play(arrivals, seed, plan=plan, faults=faults)
        runs["what if"] = Tally(report, scene.places, windows)
    table = facts(runs)
    Console().print(_table(table))
    if out is not None:
        about = f"{config.name}: {', '.join(what) if what else 'as it is'}"
        write(out, about, table, pictures(runs))
        typer.echo(f"pictures in {out / 'index.html'}")


def _table(rows: Sequence[Sequence[str]]) -> Table:
    head, *body = rows
    table = Table(box=None, pad_edge=False)
    for i, name in enumerate(head):
        table.add_column(name, justify="right" if i else "left", no_wrap=True)
    for row in body:
        table.add_row(*row)
    return table
