"""The command line: thin, over what is below. A command is imported when it is asked for."""

from __future__ import annotations

from hamlet.cli.commands import app, main

__all__ = ["app", "main"]
