"""`hamlet serve`"""

from __future__ import annotations

import ipaddress
import sys
from pathlib import Path
from typing import Annotated

import typer

from hamlet.cli.failure import failing_cleanly
from hamlet.config import GatewayConfig, load

_ConfigFile = Annotated[Path | None, typer.Option("--config", help="The YAML file to use")]


def serve(
    config: _ConfigFile = None,
    host: Annotated[str | None, typer.Option(help="Overrides server.host")] = None,
    port: Annotated[int | None, typer.Option(help="Overrides server.port; 0 picks one")] = None,
    public: Annotated[
        bool, typer.Option("--allow-public-without-keys", help="Serve everybody, unasked")
    ] = False,
) -> None:
    """Serve until told to stop. SIGHUP reads the configuration again."""
    # What only serving needs is imported here, so that other commands start at once.
    from hamlet.app import Hamlet
    from hamlet.cli.server import run

    with failing_cleanly():
        loaded = load(config)
        application = Hamlet(loaded)
        server = loaded.config.server
        address = host or server.host
        allowed = public or server.allow_public_without_keys
        refuse_open_door(address, loaded.config, allowed=allowed)
        run(application, address, server.port if port is None else port, server)


def refuse_open_door(host: str, config: GatewayConfig, *, allowed: bool) -> None:
    """Exit unless there are keys, the address is loopback, or it was said that it is meant."""
    if config.keys or allowed or _is_loopback(host):
        return
    print(
        f"hamlet: {host} can be reached by others and no keys are configured. Add keys, or say "
        "that it is meant: --allow-public-without-keys or server.allow_public_without_keys",
        file=sys.stderr,
    )
    raise typer.Exit(2)


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
