"""Config rows made live: providers, deployments, routes, as one immutable snapshot."""

from hamlet.registry.build import build
from hamlet.registry.holder import RegistryHolder
from hamlet.registry.model import Capacity, Deployment, ProviderHandle, Quota, Reserved, Route
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
    "Reserved",
    "Route",
    "build",
]
