"""Provider plugins: found by entry point, loaded only when the config names their kind."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from importlib.metadata import EntryPoint, entry_points

from pydantic import BaseModel

from hamlet.config import did_you_mean
from hamlet.spi import API_VERSION, Provider, operations

ENTRY_POINT_GROUP = "hamlet.providers"


class PluginError(Exception):
    """A plugin cannot be used; the message says why."""


@dataclass(frozen=True, slots=True)
class PluginInfo:
    """One line of `hamlet plugins`."""

    kind: str
    distribution: str
    version: str
    operations: tuple[str, ...]
    status: str


class Plugins:
    """The installed plugins. Imports none before `load`."""

    def __init__(self, entries: Iterable[EntryPoint] | None = None) -> None:
        self._entries: dict[str, list[EntryPoint]] = {}
        for entry in entry_points(group=ENTRY_POINT_GROUP) if entries is None else entries:
            self._entries.setdefault(entry.name, []).append(entry)

    @property
    def kinds(self) -> list[str]:
        """All kinds, sorted."""
        return sorted(self._entries)

    def load(self, kind: str) -> type[Provider]:
        """The class of a kind, checked against the contract. Raises PluginError."""
        entries = self._entries.get(kind, [])
        if not entries:
            raise PluginError(
                f"no plugin of kind {kind!r} is installed" + did_you_mean(kind, self.kinds)
            )
        if len(entries) > 1:
            names = " and ".join(sorted(_distribution_name(entry) for entry in entries))
            raise PluginError(f"two plugins are of kind {kind!r}: {names}; uninstall one")
        try:
            plugin = entries[0].load()
        except Exception as error:
            raise PluginError(
                f"the plugin of {_distribution_name(entries[0])} cannot be loaded: "
                f"{type(error).__name__}: {error}"
            ) from error
        _check_contract(plugin, _distribution_name(entries[0]))
        return plugin  # type: ignore[no-any-return]

    def describe_all(self) -> list[PluginInfo]:
        """Every plugin with its status; loads them all."""
        return [self._describe(entry) for kind in self.kinds for entry in self._entries[kind]]

    def _describe(self, entry: EntryPoint) -> PluginInfo:
        supported: tuple[str, ...] = ()
        status = "ok"
        try:
            supported = operations(self.load(entry.name))
        except PluginError as error:
            status = str(error)
        version = entry.dist.version if entry.dist else ""
        return PluginInfo(entry.name, _distribution_name(entry), version, supported, status)


def _check_contract(plugin: object, distribution: str) -> None:
    api_version = getattr(plugin, "api_version", None)
    if api_version != API_VERSION:
        raise PluginError(
            f"the plugin of {distribution} is written for plugin API {api_version}, "
            f"this hamlet has {API_VERSION}"
        )
    settings = getattr(plugin, "Settings", None)
    if not (isinstance(settings, type) and issubclass(settings, BaseModel)):
        raise PluginError(f"the plugin of {distribution} has no Settings class")
    if not hasattr(plugin, "cards"):
        raise PluginError(f"the plugin of {distribution} has no cards")
    if not operations(plugin):
        raise PluginError(f"the plugin of {distribution} supports no operation")


def _distribution_name(entry: EntryPoint) -> str:
    return entry.dist.name if entry.dist else entry.value
