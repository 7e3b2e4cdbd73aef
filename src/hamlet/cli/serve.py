"""`hamlet serve`"""

from __future__ import annotations

import asyncio
import gc
import ipaddress
import os
import socket
import sys
from pathlib import Path
from typing import Annotated

import typer

from hamlet.cli_support import failing_cleanly
from hamlet.config import GatewayConfig, Loaded, load

_PUBLIC = "--allow-public-without-keys"
_KILL_LATE_S = 15.0
_ConfigFile = Annotated[Path | None, typer.Option("--config", help="The YAML file to use")]


def serve(
    config: _ConfigFile = None,
    host: Annotated[str | None, typer.Option(help="Overrides server.host")] = None,
    port: Annotated[int | None, typer.Option(help="Overrides server.port; 0 picks one")] = None,
    public: Annotated[bool, typer.Option(_PUBLIC, help="Serve everybody, unasked")] = False,
    workers: Annotated[int, typer.Option(min=1, help="Processes on the one socket")] = 1,
    fd: Annotated[int | None, typer.Option(help="An open socket to serve on")] = None,
    line_fd: Annotated[int | None, typer.Option(hidden=True)] = None,
) -> None:
    """Serve until told to stop; SIGTERM drains first.

    SIGHUP reads the configuration again. With --workers, SIGUSR2 replaces them one by one.
    """
    with failing_cleanly():
        loaded = load(config)
        server = loaded.config.server
        address = host or server.host
        allowed = public or server.allow_public_without_keys
        refuse_open_door(address, loaded.config, allowed=allowed)
        sock = _listen(address, server.port if port is None else port, fd)
        if workers == 1:
            return _serve(loaded, address, sock, line_fd)
    words = ["--allow-public-without-keys"] if allowed else []
    raise typer.Exit(_supervise(loaded, address, sock, workers, words))


def _listen(host: str, port: int, fd: int | None) -> socket.socket:
    from hamlet.serving import bind, inherited

    try:
        return inherited(os.environ, fd) or bind(host, port)
    except OSError as error:
        print(f"hamlet: cannot listen on {host}:{port}: {error.strerror}", file=sys.stderr)
        raise typer.Exit(1) from None


def _serve(loaded: Loaded, host: str, sock: socket.socket, line_fd: int | None) -> None:
    # Nothing that is loaded and put together here is garbage: collecting would take a sixth of the
    # start. `run` lets the collector go on once hamlet serves.
    gc.disable()
    # What only serving needs is imported here, so that other commands start at once.
    from hamlet.app import Hamlet
    from hamlet.serving import Lifeline, greet, notify, run

    application = Hamlet(loaded)
    line = Lifeline(line_fd) if line_fd is not None else None

    def started() -> None:
        if line is not None:
            return line.started()
        print(greet(host, sock), flush=True)
        notify(os.environ, "READY=1")

    run(application, sock, loaded.config.server, loaded.config.telemetry, started)


def _supervise(loaded: Loaded, host: str, sock: socket.socket, count: int, words: list[str]) -> int:
    from hamlet.serving import Supervisor, greet, notify, worker_command
    from hamlet.telemetry import make_log

    def started() -> None:
        print(greet(host, sock), flush=True)
        notify(os.environ, "READY=1")

    server, telemetry = loaded.config.server, loaded.config.telemetry
    if loaded.path is not None:
        words = [*words, "--config", str(loaded.path)]
    patience = server.drain_delay_s + server.drain_s + _KILL_LATE_S
    log = make_log(telemetry.log_level, telemetry.log_format)
    supervisor = Supervisor(worker_command([*words, "--host", host]), sock, count, log, patience)
    return asyncio.run(supervisor.run(started))


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
