"""Builds a registry from a configuration, or reports all of its problems at once."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from hamlet.config import (
    MAIN_SCREEN,
    ConfigPath,
    DeploymentConfig,
    LoadedConfig,
    RouteConfig,
    did_you_mean,
    resolve_secrets,
    validate,
)
from hamlet.core import ChatParams, ModelCard, redact
from hamlet.core.params import NO_PARAMS
from hamlet.registry.model import (
    Capacity,
    Deployment,
    ProviderHandle,
    Quota,
    ReservedThroughput,
    Route,
)
from hamlet.registry.plugins import PluginError, Plugins
from hamlet.registry.registry import Registry
from hamlet.registry.sources import build_sources
from hamlet.registry.tiering import assign_tiers
from hamlet.runtime import HostRuntime
from hamlet.spi import Log, Provider, operations


def build_registry(loaded: LoadedConfig, log: Log, plugins: Plugins | None = None) -> Registry:
    """Build a registry. Opens no connection. Raises ConfigError with every problem."""
    builder = _Builder(loaded, log, plugins or Plugins())
    builder.build_providers()
    builder.build_routes()
    builder.check_key_routes()
    builder.check_chip_route()
    sources = build_sources(loaded)
    loaded.source.raise_if_problems()
    return Registry(loaded.config, builder.handles, builder.routes, builder.runtimes, sources)


class _Builder:
    def __init__(self, loaded: LoadedConfig, log: Log, plugins: Plugins) -> None:
        self._config = loaded.config
        self._source = loaded.source
        self._log = log
        self._plugins = plugins
        self.handles: dict[str, ProviderHandle] = {}
        self.routes: dict[str, Route] = {}
        self.runtimes: list[HostRuntime] = []

    def build_providers(self) -> None:
        for name, row in self._config.providers.items():
            path = ("providers", name)
            try:
                plugin = self._plugins.load(row.kind)
            except PluginError as error:
                self._source.report((*path, "kind"), str(error))
                continue
            instance = self._instantiate(plugin, row.settings, path)
            if instance is not None:
                dialect = getattr(instance, "dialect", None)
                supported = operations(instance)
                self.handles[name] = ProviderHandle(name, row.kind, instance, supported, dialect)

    def _instantiate(self, plugin: type[Provider], raw: Mapping[str, Any], path: ConfigPath) -> Any:
        values = resolve_secrets(plugin.Settings, raw, self._source, path)
        settings = validate(plugin.Settings, values, self._source, path)
        if settings is None:
            return None
        runtime = HostRuntime(self._log, name=str(path[-1]))
        try:
            instance = plugin(settings, runtime)
        except Exception as error:
            text = redact(str(error))
            self._source.report(path, f"the plugin refuses: {type(error).__name__}: {text}")
            return None
        self.runtimes.append(runtime)
        return instance

    def build_routes(self) -> None:
        for name, route in self._config.routes.items():
            tiers = tuple(
                tuple(
                    deployment
                    for j, row in enumerate(tier)
                    if (
                        deployment := self._build_deployment(
                            row, route, self._deployment_path(name, route, i, j)
                        )
                    )
                )
                for i, tier in enumerate(route.all_tiers)
            )
            self._reject_duplicates(name, tiers)
            if route.tiering == "fleet":
                tiers = assign_tiers(tiers[0], self._config.fleet.home)
            self.routes[name] = Route(
                name,
                route.operation,
                tiers,
                route.policy,
                sheddable=route.criticality == "sheddable",
                residency=route.residency,
            )
            self._check_residency(name, route, tiers)

    def _check_residency(
        self, name: str, route: RouteConfig, tiers: tuple[tuple[Deployment, ...], ...]
    ) -> None:
        places = {place for tier in tiers for d in tier for place in (d.region, d.data_zone)}
        for place in sorted(route.residency - places):
            known = sorted(p for p in places if p)
            hint = did_you_mean(place, known)
            message = f"no deployment of this route is in {place!r}{hint}"
            self._source.report(("routes", name, "residency"), message)

    def _deployment_path(self, name: str, route: RouteConfig, tier: int, row: int) -> ConfigPath:
        subpath = ("tiers", tier, row) if route.tiers else ("deployments", row)
        return ("routes", name, *subpath)

    def _build_deployment(
        self, row: DeploymentConfig, route: RouteConfig, path: ConfigPath
    ) -> Deployment | None:
        handle = self.handles.get(row.provider)
        if handle is None:
            # A provider that is present but invalid has been reported already.
            if row.provider not in self._source.data.get("providers", {}):
                hint = did_you_mean(row.provider, self._config.providers)
                self._source.report((*path, "provider"), f"no such provider{hint}")
            return None
        if route.operation not in handle.operations:
            message = f"providers of kind {handle.kind} do not support {route.operation}"
            self._source.report((*path, "provider"), message)
            return None
        card = self._resolve_card(handle, row, path)
        if card is None:
            return None
        if card.kind not in (None, route.operation):
            self._source.report((*path, "model"), f"this model does not do {route.operation}")
        return Deployment(
            id=f"{row.provider}/{row.model}",
            provider=handle,
            model=row.model,
            card=card,
            defaults=_or_no_params(route.defaults.over(row.defaults)),
            caps=_or_no_params(_merge_caps(row.caps, route.caps)),
            weight=row.weight,
            region=row.region,
            data_zone=row.data_zone,
            capacity=_build_capacity(row),
            quota_group=row.quota_group or row.provider,
            vendor=row.vendor or handle.kind,
            local=row.local,
            max_in_flight=row.max_in_flight,
        )

    def _resolve_card(
        self, handle: ProviderHandle, row: DeploymentConfig, path: ConfigPath
    ) -> ModelCard | None:
        known = find_card(handle.instance.cards, row.model) or ModelCard()
        if not row.card:
            return known
        facts = {**known.model_dump(exclude_unset=True), **row.card}
        return validate(ModelCard, facts, self._source, (*path, "card"))

    def _reject_duplicates(self, name: str, tiers: tuple[tuple[Deployment, ...], ...]) -> None:
        ids = [deployment.id for tier in tiers for deployment in tier]
        for duplicate in sorted({i for i in ids if ids.count(i) > 1}):
            self._source.report(("routes", name), f"duplicate deployment: {duplicate}")

    def check_key_routes(self) -> None:
        for i, key in enumerate(self._config.keys):
            for j, route in enumerate(key.routes or ()):
                if route != MAIN_SCREEN and route not in self._source.data.get("routes", {}):
                    hint = did_you_mean(route, self._config.routes)
                    self._source.report(("keys", i, "routes", j), f"no such route{hint}")

    def check_chip_route(self) -> None:
        name = self._config.suggest.chip_route
        route = self._config.routes.get(name) if name else None
        if name and (route is None or route.operation != "chat"):
            hint = did_you_mean(name, self._config.routes)
            self._source.report(("suggest", "chip_route"), f"no such chat route{hint}")


def _merge_caps(one: ChatParams, other: ChatParams) -> ChatParams:
    """Both sets of caps as one: the lower of each."""
    return other.over(one).capped(one) if one.model_fields_set else other


def _or_no_params(params: ChatParams) -> ChatParams:
    """The shared empty set if none is set: calls check for it by identity."""
    return params if params.model_fields_set else NO_PARAMS


def _build_capacity(row: DeploymentConfig) -> Capacity | None:
    if row.ptu:
        return ReservedThroughput(row.ptu, row.tpm_per_ptu, row.output_weight)
    return Quota(row.tpm, row.rpm) if row.tpm or row.rpm else None


def find_card(cards: Mapping[str, ModelCard], model: str) -> ModelCard | None:
    """The card of the longest name that is a prefix of `model`, so that dated versions match."""
    return cards.get(max((n for n in cards if model.startswith(n)), key=len, default=model))
