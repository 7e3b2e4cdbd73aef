"""Config rows made live: providers, deployments, routes, as one immutable snapshot."""

from hamlet.registry.build import build
from hamlet.registry.holder import RegistryHolder
from hamlet.registry.model import Deployment, ProviderHandle, Route
from hamlet.registry.plugins import PluginError, Plugins
from hamlet.registry.registry import Registry

__all__ = [
    "Deployment",
    "PluginError",
    "Plugins",
    "ProviderHandle",
    "Registry",
    "RegistryHolder",
    "Route",
    "build",
]
