"""`hamlet healthcheck`"""

from __future__ import annotations

from typing import Annotated

import typer

from hamlet.healthcheck import URL
from hamlet.healthcheck import healthcheck as check_health


def healthcheck(
    url: Annotated[str, typer.Option("--url", help="The URL of a running hamlet")] = URL,
    timeout_s: Annotated[float, typer.Option(help="Seconds to wait", min=0.1)] = 3.0,
) -> None:
    """Request /livez of a running hamlet; status 1 unless the response is 200.

    `python -m hamlet.healthcheck` does the same and starts much faster.
    """
    is_alive, seen = check_health(url, timeout_s)
    typer.echo(seen, err=not is_alive)
    if not is_alive:
        raise typer.Exit(1)
