"""Link sources: found by entry point, like providers."""

from __future__ import annotations

from importlib.metadata import entry_points
from typing import Any

from hamlet.config import LoadedConfig, did_you_mean, resolve_secrets, validate
from hamlet.registry.plugins import PluginError
from hamlet.spi import API_VERSION
from hamlet.spi.sources import SupportsSearch

ENTRY_POINT_GROUP = "hamlet.sources"


def build_sources(loaded: LoadedConfig) -> dict[str, SupportsSearch]:
    """The web sources of a configuration, in its order; reports what is wrong with them."""
    built: dict[str, SupportsSearch] = {}
    for name, row in loaded.config.suggest.sources.items():
        path = ("suggest", "sources", name)
        try:
            plugin = source_class(row.kind)
        except PluginError as error:
            loaded.source.report((*path, "kind"), str(error))
            continue
        values = resolve_secrets(plugin.Settings, row.settings, loaded.source, path)
        settings = validate(plugin.Settings, values, loaded.source, path)
        if settings is not None:
            built[name] = plugin(settings)
    return built


def source_class(kind: str) -> Any:
    """The class of an installed link source. Raises PluginError."""
    found = entry_points(group=ENTRY_POINT_GROUP, name=kind)
    if not found:
        hint = did_you_mean(kind, entry_points(group=ENTRY_POINT_GROUP).names)
        raise PluginError(f"no link source of kind {kind!r} is installed{hint}")
    if len(found) > 1:
        raise PluginError(f"{len(found)} link sources are of kind {kind!r}; uninstall all but one")
    plugin = next(iter(found)).load()
    if getattr(plugin, "api_version", None) != API_VERSION:
        raise PluginError(f"the link source {kind!r} is written for another plugin API")
    if not callable(getattr(plugin, "search", None)) or not hasattr(plugin, "Settings"):
        raise PluginError(f"the link source {kind!r} breaks the contract")
    return plugin
