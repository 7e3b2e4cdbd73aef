"""The command line. A command's module is imported only when the command is run."""

from __future__ import annotations

from hamlet.cli.commands import app, main

__all__ = ["app", "main"]
