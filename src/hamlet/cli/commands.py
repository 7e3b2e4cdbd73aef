"""The table of commands."""

from __future__ import annotations

from importlib import import_module
from typing import Any

import typer
from typer.core import TyperGroup
from typer.main import get_command

# Name -> module and attribute. A command is imported only when it is run: serving must not load
# what only the dashboards, the catalogue or the migration need.
_COMMANDS = {
    "serve": ("hamlet.cli.serve", "serve"),
    "init": ("hamlet.cli.init", "init"),
    "doctor": ("hamlet.cli.doctor", "doctor"),
    "healthcheck": ("hamlet.cli.healthcheck", "healthcheck"),
    "plugins": ("hamlet.cli.plugins", "plugins"),
    "catalogue": ("hamlet.cli.catalogue", "catalogue"),
    "config": ("hamlet.cli.config", "config"),
    "cutover": ("hamlet.migration.cli", "cutover"),
    "fleet": ("hamlet.cli.fleet", "fleet"),
    "dash": ("hamlet.cli.dash", "dash"),
}


class _LazyCommands(TyperGroup):
    """Imports a command when it is looked up."""

    def list_commands(self, ctx: Any) -> list[str]:
        return list(_COMMANDS)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        if cmd_name not in _COMMANDS:
            return None
        module, attribute = _COMMANDS[cmd_name]
        found = getattr(import_module(module), attribute)
        if not isinstance(found, typer.Typer):
            found, function = typer.Typer(add_completion=False), found
            found.command(cmd_name)(function)
        command = get_command(found)
        command.name = cmd_name
        return command


app = typer.Typer(
    cls=_LazyCommands, no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False
)


@app.callback()
def _hamlet() -> None:
    """hamlet, an async LLM serving gateway."""


def main() -> None:
    """The entry point of the `hamlet` command."""
    app()
