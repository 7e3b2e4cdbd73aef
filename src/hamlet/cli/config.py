"""`hamlet config check | schema | explain`"""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from hamlet.cli_support import exit_on_config_error
from hamlet.config import GatewayConfig, did_you_mean, load
from hamlet.migration.config_check import resolve_config
from hamlet.registry import Deployment, Registry, build_registry
from hamlet.suggest.assembly import check_packs
from hamlet.telemetry import make_log

config = typer.Typer(
    add_completion=False, no_args_is_help=True, help="Validate and explain configurations."
)

_File = Annotated[
    Path | None,
    typer.Option("--config", help="The YAML file; by default the built-in configuration"),
]


@config.command()
def check(file: Annotated[Path, typer.Argument(help="The YAML file")]) -> None:
    """Validate FILE and list all problems with their lines; status 2 if there are any."""
    registry = _build_registry(file)
    with exit_on_config_error():
        loaded = load(file)
        check_packs(loaded)
        if loaded.config.cutover is not None:
            resolve_config(loaded)
    routes, providers = len(registry.routes), len(registry.providers)
    print(f"{file}: ok ({providers} providers, {routes} routes, {len(registry.sources)} sources)")


@config.command()
def schema() -> None:
    """Print the JSON Schema of the configuration file, for editors."""
    print(json.dumps(GatewayConfig.model_json_schema(), indent=2))


@config.command()
def explain(
    route: Annotated[str, typer.Argument(help="The route, as callers name it")], file: _File = None
) -> None:
    """Show a route's deployments, tiers and policy."""
    registry = _build_registry(file)
    if route not in registry.routes:
        typer.echo(f"no such route: {route}{did_you_mean(route, registry.routes)}", err=True)
        raise typer.Exit(2)
    route_config = registry.routes[route]
    table = Table("tier", "deployment", "weight", "region", "defaults", "caps", box=None)
    for i, tier in enumerate(route_config.tiers, 1):
        for deployment in tier:
            table.add_row(str(i), *_deployment_row(deployment))
    policy = " ".join(f"{k}={v}" for k, v in asdict(route_config.policy).items())
    console = Console()
    console.print(f"{route}: {route_config.operation}")
    console.print(table)
    console.print(f"policy: {policy}", soft_wrap=True)


def _deployment_row(deployment: Deployment) -> tuple[str, ...]:
    return (
        deployment.id,
        f"{deployment.weight:g}",
        deployment.region or "",
        json.dumps(deployment.defaults.wire_fields()),
        json.dumps(deployment.caps.wire_fields()),
    )


def _build_registry(file: Path | None) -> Registry:
    with exit_on_config_error():
        return build_registry(load(file), make_log("error"))
