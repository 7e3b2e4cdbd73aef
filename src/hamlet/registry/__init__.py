"""The live configuration: providers, deployments and routes in one immutable snapshot."""

from hamlet.registry.build import build_registry
from hamlet.registry.holder import RegistryHolder
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

__all__ = [
    "Capacity",
    "Deployment",
    "PluginError",
    "Plugins",
    "ProviderHandle",
    "Quota",
    "Registry",
    "RegistryHolder",
    "ReservedThroughput",
    "Route",
    "build_registry",
]
