"""`hamlet healthcheck`: what a container's HEALTHCHECK calls."""

from __future__ import annotations

import urllib.error
import urllib.request
from typing import Annotated

import typer


def healthcheck(
    url: Annotated[
        str, typer.Option("--url", help="Where hamlet serves")
    ] = "http://127.0.0.1:8080",
    timeout_s: Annotated[float, typer.Option(help="Seconds to wait", min=0.1)] = 3.0,
) -> None:
    """Ask /livez of a running hamlet; status 1 unless it answers 200.

    Liveness alone: a hamlet that drains is well, and no vendor's outage makes it unwell.
    """
    # A proxy of the environment is for vendors, not for ourselves.
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(f"{url}/livez", timeout=timeout_s) as answer:
            status: int = answer.status
    except urllib.error.HTTPError as error:
        status = error.code
    except (OSError, ValueError) as error:
        typer.echo(f"{url}: no hamlet answers: {type(error).__name__}", err=True)
        raise typer.Exit(1) from None
    typer.echo(f"{url}/livez: {status}", err=status != 200)
    if status != 200:
        raise typer.Exit(1)
