"""`hamlet config check | schema | explain`"""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from hamlet.cli_support import failing_cleanly
from hamlet.config import GatewayConfig, load, suggestion
from hamlet.migration import settings
from hamlet.registry import Deployment, Registry, build
from hamlet.suggest.assembly import check_packs
from hamlet.telemetry import make_log

config = typer.Typer(
    add_completion=False, no_args_is_help=True, help="Check and explain configurations."
)

_File = Annotated[Path | None, typer.Option("--config", help="The file; the default if none")]


@config.command()
def check(file: Annotated[Path, typer.Argument(help="The YAML file")]) -> None:
    """Say everything that is wrong with FILE, with its lines; status 2 if anything is."""
    registry = _registry(file)
    with failing_cleanly():
        loaded = load(file)
        check_packs(loaded)
        if loaded.config.cutover is not None:
            settings(loaded)
    routes, providers = len(registry.routes), len(registry.providers)
    print(f"{file}: ok ({providers} providers, {routes} routes, {len(registry.sources)} sources)")


@config.command()
def schema() -> None:
    """Print the JSON Schema of the file, for editors."""
    print(json.dumps(GatewayConfig.model_json_schema(), indent=2))


@config.command()
def explain(route: Annotated[str, typer.Argument()], file: _File = None) -> None:
    """Show the plan that a call to ROUTE would get."""
    registry = _registry(file)
    if route not in registry.routes:
        typer.echo(f"no such route: {route}{suggestion(route, registry.routes)}", err=True)
        raise typer.Exit(2)
    found = registry.routes[route]
    table = Table("tier", "deployment", "weight", "region", "defaults", "caps", box=None)
    for i, tier in enumerate(found.tiers, 1):
        for deployment in tier:
            table.add_row(str(i), *_row(deployment))
    policy = " ".join(f"{k}={v}" for k, v in asdict(found.policy).items())
    console = Console()
    console.print(f"{route}: {found.operation}")
    console.print(table)
    console.print(f"policy: {policy}", soft_wrap=True)


def _row(deployment: Deployment) -> tuple[str, ...]:
    return (
        deployment.id,
        f"{deployment.weight:g}",
        deployment.region or "",
        json.dumps(deployment.defaults.sent()),
        json.dumps(deployment.caps.sent()),
    )


def _registry(file: Path | None) -> Registry:
    with failing_cleanly():
        return build(load(file), make_log("error"))
