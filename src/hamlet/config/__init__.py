"""YAML into a GatewayConfig; every error at once, with its path and line."""

from hamlet.config.cutover import CutoverConfig
from hamlet.config.load import Loaded, checked, load, loads, read, suggestion, validate
from hamlet.config.model import (
    MAIN_SCREEN,
    DeploymentConfig,
    FleetConfig,
    GatewayConfig,
    KeyConfig,
    Policy,
    ProviderConfig,
    RouteConfig,
    ServerConfig,
    SuggestConfig,
    TelemetryConfig,
)
from hamlet.config.secrets import resolve, secret_fields
from hamlet.config.source import ConfigError, Problem, Source

__all__ = [
    "MAIN_SCREEN",
    "ConfigError",
    "CutoverConfig",
    "DeploymentConfig",
    "FleetConfig",
    "GatewayConfig",
    "KeyConfig",
    "Loaded",
    "Policy",
    "Problem",
    "ProviderConfig",
    "RouteConfig",
    "ServerConfig",
    "Source",
    "SuggestConfig",
    "TelemetryConfig",
    "checked",
    "load",
    "loads",
    "read",
    "resolve",
    "secret_fields",
    "suggestion",
    "validate",
]
