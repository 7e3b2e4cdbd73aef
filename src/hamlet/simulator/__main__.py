"""`python -m hamlet.testing.simulator`: simulated vendors over HTTP."""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import typer
import uvloop
import yaml

from hamlet.config import ConfigError, LoadedConfig, load, loads
from hamlet.simulator.configuration import example_fleet, redirect_providers, simulated_deployments
from hamlet.simulator.faults import Fault, parse_faults
from hamlet.simulator.server import SimulatorServer
from hamlet.simulator.spec import SimulatedDeployment, load_latency
from hamlet.simulator.world import World


def main(
    config: Annotated[
        Path | None, typer.Option(help="Simulate this configuration's vendors")
    ] = None,
    fleet: Annotated[
        int, typer.Option(help="Without a configuration: this many PTU deployments")
    ] = 27,
    host: Annotated[str, typer.Option(help="Where to listen")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="0 picks a free one")] = 0,
    seed: int = 0,
    tokens_per_frame: Annotated[int, typer.Option(min=1, help="Tokens that share an event")] = 4,
    faults: Annotated[Path | None, typer.Option(help="A JSON list of faults")] = None,
    latency: Annotated[
        Path | None, typer.Option(help="CSV of measured calls to draw latencies from")
    ] = None,
    write: Annotated[
        Path | None, typer.Option(help="Write the configuration, pointed at the simulator")
    ] = None,
) -> None:
    """Simulate every vendor of a configuration on one port, by default of loopback."""
    try:
        loaded = load(config) if config else loads(example_fleet(fleet))
        loaded.source.raise_if_problems()
        schedule = parse_faults(faults.read_bytes()) if faults else []
        specs = [
            _with_overrides(s, tokens_per_frame, latency)
            for s in simulated_deployments(loaded.config)
        ]
    except (ConfigError, OSError, ValueError) as error:
        typer.echo(str(error), err=True)
        raise typer.Exit(2) from None
    if not specs:
        typer.echo("the configuration names no vendor that can be simulated", err=True)
        raise typer.Exit(2)
    uvloop.run(_serve(specs, schedule, loaded, (host, port), seed, write))


def _with_overrides(
    spec: SimulatedDeployment, tokens_per_frame: int, latency: Path | None
) -> SimulatedDeployment:
    drawn = load_latency(latency) if latency else spec.latency
    return replace(spec, tokens_per_frame=tokens_per_frame, latency=drawn)


async def _serve(
    specs: Sequence[SimulatedDeployment],
    faults: Sequence[Fault],
    loaded: LoadedConfig,
    address: tuple[str, int],
    seed: int,
    write: Path | None,
) -> None:
    world = World(specs, seed=seed, clock=time.monotonic, faults=faults)
    async with SimulatorServer(world, host=address[0], port=address[1]) as server:
        if write is not None:
            _write_yaml(write, redirect_providers(loaded.source.data, server.url))
        stopped = _stop_event()
        print(f"{len(specs)} deployments at {server.url}", flush=True)
        await stopped.wait()


def _stop_event() -> asyncio.Event:
    """An event set by SIGINT or SIGTERM, even if the shell started the process ignoring SIGINT."""
    stop, loop = asyncio.Event(), asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    return stop


def _write_yaml(file: Path, data: Mapping[str, Any]) -> None:
    file.write_text(yaml.safe_dump(data, sort_keys=False), "utf-8")


if __name__ == "__main__":
    typer.run(main)
