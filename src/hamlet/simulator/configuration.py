"""Simulated deployments from a hamlet configuration, and configurations for the simulator."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from hamlet.config import (
    DeploymentConfig,
    GatewayConfig,
    LoadedConfig,
    ProviderConfig,
    config_from_source,
    loads,
    read_source,
)
from hamlet.registry import Registry, build_registry
from hamlet.registry.plugins import Plugins
from hamlet.simulator.spec import (
    PAYG_LATENCY,
    PTU_LATENCY,
    VENDOR_LATENCY,
    Capacity,
    Payg,
    Ptu,
    SimulatedDeployment,
    WireName,
)
from hamlet.simulator.transport import SimulatedRuntime
from hamlet.simulator.world import World
from hamlet.spi import Log, Provider

# Simulated vendors check no credentials; without these settings no secret has to be present.
_CREDENTIALS = frozenset(
    {"tenant_id", "client_id", "client_secret", "federated_token_file", "api_key"}
)
_SIMULATOR_URL = "http://simulated"
_SIMULATED_KINDS = frozenset({"openai", "openai_compatible", "anthropic"})


def simulated_deployments(config: GatewayConfig) -> list[SimulatedDeployment]:
    """One simulated deployment for each distinct provider and model of the chat routes.

    Capacity is as configured, latency depends on the kind of deployment. Providers that run inside
    hamlet are left out.
    """
    found: dict[str, SimulatedDeployment] = {}
    for row in _chat_deployments(config):
        provider = config.providers.get(row.provider)
        # The registry reports an unknown provider, with its line.
        if provider is not None and provider.kind in _SIMULATED_KINDS:
            spec = _simulated_deployment(row, _wire_of(provider))
            found.setdefault(spec.id, spec)
    return list(found.values())


def _chat_deployments(config: GatewayConfig) -> Iterator[DeploymentConfig]:
    for route in config.routes.values():
        if route.operation == "chat":
            for tier in route.all_tiers:
                yield from tier


def _simulated_deployment(row: DeploymentConfig, wire: WireName) -> SimulatedDeployment:
    capacity: Capacity | None = None
    latency = PAYG_LATENCY if wire == "azure" else VENDOR_LATENCY
    if row.ptu:
        capacity = Ptu(row.ptu, row.tpm_per_ptu, row.output_weight)
        wire, latency = "azure", PTU_LATENCY
    elif row.tpm or row.rpm:
        capacity = Payg(row.tpm, row.rpm)
    return SimulatedDeployment(
        row.provider, row.model, wire, row.region or "", row.data_zone or "", capacity, latency
    )


def _wire_of(provider: ProviderConfig) -> WireName:
    if provider.kind == "anthropic":
        return "anthropic"
    settings = provider.settings
    azure = "azure" in str(settings.get("base_url", "")) or settings.get("auth") == "api-key"
    return "azure" if azure or settings.get("api_version") else "openai"


def redirect_providers(data: Mapping[str, Any], url: str) -> dict[str, Any]:
    """A configuration, as plain data, with all vendors at `url` and without credentials."""
    providers = {
        name: _redirect_provider(name, row, url) if row.get("kind") in _SIMULATED_KINDS else row
        for name, row in data["providers"].items()
    }
    return {**data, "providers": providers}


def read_for_simulation(path: Path) -> tuple[LoadedConfig, list[SimulatedDeployment]]:
    """A configuration file redirected to the simulator, and its simulated deployments.

    No secret has to be present. Raises ConfigError with the lines of the file.
    """
    source = read_source(path)
    kept = ("providers", "routes")
    data: dict[str, Any] = {key: source.data[key] for key in kept if key in source.data}
    if isinstance(fleet := source.data.get("fleet"), dict):
        data["fleet"] = {key: value for key, value in fleet.items() if key != "redis"}
    original = config_from_source(replace(source, data=data))
    original.source.raise_if_problems()
    return config_from_source(
        replace(source, data=redirect_providers(data, _SIMULATOR_URL))
    ), simulated_deployments(original.config)


def _redirect_provider(name: str, row: Mapping[str, Any], url: str) -> dict[str, Any]:
    kept = {key: value for key, value in row.items() if key not in _CREDENTIALS}
    if kept.get("auth") == "entra":
        del kept["auth"]
    version = "" if kept["kind"] == "anthropic" or kept.get("api_version") else "/v1"
    return {**kept, "base_url": f"{url}/{name}{version}"}


def prepare_for_simulation(loaded: LoadedConfig, url: str = _SIMULATOR_URL) -> LoadedConfig:
    """The routing part of a configuration, redirected to the simulator.

    Providers, routes and the home region are kept; keys, the main screen and Redis are not, so
    that no secret has to be present. Raises ConfigError if the configuration is invalid.
    """
    loaded.source.raise_if_problems()
    data = redirect_providers(loaded.source.data, url)
    kept = {key: data[key] for key in ("providers", "routes")}
    fleet: dict[str, Any] = {**(data.get("fleet") or {}), "redis": None}
    return loads(yaml.safe_dump({**kept, "fleet": fleet}, sort_keys=False), loaded.source.name)


@cache
def _load_plugin(kind: str) -> type[Provider]:
    """Cached: a registry is built for every seed, and plugins do not change."""
    return Plugins().load(kind)


class SimulatedPlugins(Plugins):
    """The installed plugins, each with a transport into a simulated world."""

    def __init__(self, world: World, log: Log) -> None:
        super().__init__(())
        self._runtime = SimulatedRuntime(world, log)

    def load(self, kind: str) -> type[Provider]:
        plugin, runtime = _load_plugin(kind), self._runtime

        def __init__(self: Any, settings: Any, _: object) -> None:
            plugin.__init__(self, settings, runtime)

        return type(plugin.__name__, (plugin,), {"__init__": __init__})


def simulated_registry(loaded: LoadedConfig, world: World, log: Log) -> Registry:
    """The real registry of a configuration over a simulated world; see `prepare_for_simulation`."""
    return build_registry(loaded, log, SimulatedPlugins(world, log))


_ZONES = {
    "asia": ("koreacentral", "japaneast", "southeastasia"),
    "eu": ("swedencentral", "westeurope", "francecentral"),
    "us": ("eastus", "southcentralus", "westus3"),
}
_SIZES = (15, 20, 25, 30, 35, 25, 20, 30, 25)


def example_fleet(count: int = 27, url: str = _SIMULATOR_URL) -> str:
    """A configuration of `count` PTU deployments over nine regions in three data zones.

    It also has one pay-as-you-go deployment per zone, and one of another vendor. 27 deployments
    have 675 PTU, four fifths of which the 750 rpm trace uses.
    """
    regions = [(zone, region) for zone, names in _ZONES.items() for region in names]
    providers: dict[str, Any] = {}
    rows: list[dict[str, Any]] = []
    for i in range(count):
        # Consecutive deployments are in different zones, so that small fleets have all three.
        zone, region = regions[(i * 3 + i // 3) % 9]
        name = f"ptu-{region}-{i // 9 + 1}"
        providers[name] = {"kind": "openai", "base_url": f"{url}/{name}/v1", "auth": "api-key"}
        rows.append(_deployment_row(name, zone, region, ptu=_SIZES[(i + i // 9) % 9]))
    for zone, names in _ZONES.items():
        name = f"payg-{zone}"
        providers[name] = {"kind": "openai", "base_url": f"{url}/{name}/v1", "auth": "api-key"}
        rows.append(_deployment_row(name, zone, names[0], tpm=600_000, rpm=3_600))
    providers["claude"] = {"kind": "anthropic", "base_url": f"{url}/claude"}
    rows.append({"provider": "claude", "model": "claude-opus-4-6", "region": "us"})
    route = {"tiering": "fleet", "deployments": rows}
    fleet = {"fleet": {"home": "koreacentral"}, "providers": providers, "routes": {"chat": route}}
    return yaml.safe_dump(fleet, sort_keys=False)


def _deployment_row(name: str, zone: str, region: str, **capacity: int) -> dict[str, Any]:
    return {
        "provider": name, "model": "gpt-4o", "region": region, "data_zone": zone, **capacity
    }  # fmt: skip
