"""Link sources: found by entry point, like providers."""

from __future__ import annotations

from importlib.metadata import entry_points

from hamlet.registry.plugins import PluginError
from hamlet.spi import API_VERSION
from hamlet.spi.sources import SupportsSearch

GROUP = "hamlet.sources"


def load_source(kind: str) -> SupportsSearch:
    """A source of this kind, with its defaults. Raises PluginError."""
    found = entry_points(group=GROUP, name=kind)
    if len(found) != 1:
        raise PluginError(f"there are {len(found)} link sources of kind {kind!r}, not one")
    plugin = next(iter(found)).load()
    if getattr(plugin, "api_version", None) != API_VERSION:
        raise PluginError(f"the link source {kind!r} is written for another plugin API")
    source = plugin()
    if not isinstance(source, SupportsSearch):
        raise PluginError(f"the link source {kind!r} cannot search")
    return source
