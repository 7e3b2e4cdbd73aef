"""The command line: thin, over what is below."""

from __future__ import annotations

import typer

from hamlet.cli.catalogue import catalogue
from hamlet.cli.config import config
from hamlet.cli.cutover import cutover
from hamlet.cli.dash import dash
from hamlet.cli.doctor import doctor
from hamlet.cli.fleet import fleet
from hamlet.cli.init import init
from hamlet.cli.plugins import plugins
from hamlet.cli.serve import serve

app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)
app.command()(serve)
app.command()(init)
app.command()(doctor)
app.command()(plugins)
app.add_typer(catalogue, name="catalogue")
app.add_typer(config, name="config")
app.add_typer(cutover, name="cutover")
app.add_typer(fleet, name="fleet")
app.add_typer(dash, name="dash")


@app.callback()
def _hamlet() -> None:
    """hamlet, an async LLM serving gateway."""


def main() -> None:
    """The entry point of the `hamlet` command."""
    app()
