"""`hamlet cutover`: the command group."""

from __future__ import annotations

from collections.abc import Callable

import typer

from hamlet.migration.cli import long_running, reporting, state_commands

_COMMANDS: dict[str, Callable[..., None]] = {
    "init": state_commands.init,
    "export": state_commands.export,
    "status": state_commands.status,
    "set": state_commands.set_,
    "advance": state_commands.advance,
    "hold": state_commands.hold,
    "release": state_commands.release,
    "rollback": state_commands.rollback,
    "autopilot": long_running.autopilot,
    "verify": long_running.verify,
    "report": reporting.report,
}

cutover = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    help="Move features from hamlet1 to hamlet, step by step, and back.",
)
for _name, _command in _COMMANDS.items():
    cutover.command(_name)(_command)
