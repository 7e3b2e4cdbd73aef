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

from hamlet.cli_support import exit_on_config_error
from hamlet.config import GatewayConfig, LoadedConfig, load

_ALLOW_PUBLIC_OPTION = "--allow-public-without-keys"
_KILL_MARGIN_S = 15.0
_ConfigFile = Annotated[
    Path | None,
    typer.Option("--config", help="The YAML file; by default the built-in configuration"),
]


def serve(
    config: _ConfigFile = None,
    host: Annotated[str | None, typer.Option(help="Overrides server.host")] = None,
    port: Annotated[
        int | None, typer.Option(help="Overrides server.port; 0 picks a free one")
    ] = None,
    public: Annotated[
        bool, typer.Option(_ALLOW_PUBLIC_OPTION, help="Serve a public address without API keys")
    ] = False,
    workers: Annotated[
        int, typer.Option(min=1, help="Number of processes on the shared socket")
    ] = 1,
    fd: Annotated[
        int | None, typer.Option(help="The descriptor of an open socket to serve on")
    ] = None,
    line_fd: Annotated[int | None, typer.Option(hidden=True)] = None,
) -> None:
    """Serve until stopped; SIGTERM drains first.

    SIGHUP reloads the configuration. With --workers, SIGUSR2 replaces the workers one by one.
    """
    with exit_on_config_error():
        loaded = load(config)
        server = loaded.config.server
        address = host or server.host
        allowed = public or server.allow_public_without_keys
        refuse_public_without_keys(address, loaded.config, allowed=allowed)
        sock = _open_listener(address, server.port if port is None else port, fd)
        if workers == 1:
            return _serve(loaded, address, sock, line_fd)
    arguments = ["--allow-public-without-keys"] if allowed else []
    raise typer.Exit(_supervise(loaded, address, sock, workers, arguments))


def _open_listener(host: str, port: int, fd: int | None) -> socket.socket:
    from hamlet.serving import bind, inherit_socket

    try:
        return inherit_socket(os.environ, fd) or bind(host, port)
    except OSError as error:
        print(f"hamlet: cannot listen on {host}:{port}: {error.strerror}", file=sys.stderr)
        raise typer.Exit(1) from None


def _serve(loaded: LoadedConfig, host: str, sock: socket.socket, line_fd: int | None) -> None:
    # Almost nothing allocated during startup becomes garbage, and collecting would take a sixth of
    # its time. `run` enables the collector again once hamlet serves.
    gc.disable()
    # Imported here so that other commands start fast.
    from hamlet.app import Hamlet
    from hamlet.serving import SupervisorChannel, notify_systemd, run, startup_banner

    application = Hamlet(loaded)
    supervisor = SupervisorChannel(line_fd) if line_fd is not None else None

    def on_started() -> None:
        if supervisor is not None:
            return supervisor.report_ready()
        print(startup_banner(host, sock), flush=True)
        notify_systemd(os.environ, "READY=1")

    run(application, sock, loaded.config.server, loaded.config.telemetry, on_started)


def _supervise(
    loaded: LoadedConfig, host: str, sock: socket.socket, count: int, arguments: list[str]
) -> int:
    from hamlet.serving import Supervisor, notify_systemd, startup_banner, worker_command
    from hamlet.telemetry import make_log

    def on_started() -> None:
        print(startup_banner(host, sock), flush=True)
        notify_systemd(os.environ, "READY=1")

    server, telemetry = loaded.config.server, loaded.config.telemetry
    if loaded.path is not None:
        arguments = [*arguments, "--config", str(loaded.path)]
    grace_s = server.drain_delay_s + server.drain_s + _KILL_MARGIN_S
    log = make_log(telemetry.log_level, telemetry.log_format)
    supervisor = Supervisor(worker_command([*arguments, "--host", host]), sock, count, log, grace_s)
    return asyncio.run(supervisor.run(on_started))


def refuse_public_without_keys(host: str, config: GatewayConfig, *, allowed: bool) -> None:
    """Exit with status 2 if a public address would be served without keys, unless `allowed`."""
    if config.keys or allowed or _is_loopback(host):
        return
    print(
        f"hamlet: {host} can be reached by others and no keys are configured. Add keys, or allow "
        "it with --allow-public-without-keys or server.allow_public_without_keys",
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
