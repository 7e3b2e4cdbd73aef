"""How commands fail: the problem on stderr and exit status 2."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager

import typer

from hamlet.config import ConfigError


def error_exit(message: str) -> typer.Exit:
    """Print an error to stderr; raise what this returns to exit with status 2."""
    typer.echo(message, err=True)
    return typer.Exit(2)


@contextmanager
def exit_on_config_error() -> Iterator[None]:
    """Print the problems of a ConfigError to stderr and exit with status 2."""
    try:
        yield
    except ConfigError as error:
        print(error, file=sys.stderr)
        count = len(error.problems)
        print(f"hamlet: {count} problem{'s' * (count > 1)} in {error.name}", file=sys.stderr)
        raise typer.Exit(2) from None
