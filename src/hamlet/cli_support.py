"""How commands report a configuration error: its problems on stderr, and exit status 2."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager

import typer

from hamlet.config import ConfigError


@contextmanager
def exit_on_config_error() -> Iterator[None]:
    """Print a ConfigError's problems and exit with status 2."""
    try:
        yield
    except ConfigError as error:
        print(error, file=sys.stderr)
        count = len(error.problems)
        print(f"hamlet: {count} problem{'s' * (count > 1)} in {error.name}", file=sys.stderr)
        raise typer.Exit(2) from None
