"""YAML into a GatewayConfig; every error at once, with its path and line."""

from hamlet.config.cutover import CutoverConfig
from hamlet.config.load import (
    LoadedConfig,
    config_from_source,
    did_you_mean,
    load,
    loads,
    read_source,
    validate,
)
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
from hamlet.config.secrets import resolve_secrets, secret_fields
from hamlet.config.yaml_source import ConfigError, ConfigPath, ConfigProblem, ConfigSource

__all__ = [
    "MAIN_SCREEN",
    "ConfigError",
    "ConfigPath",
    "ConfigProblem",
    "ConfigSource",
    "CutoverConfig",
    "DeploymentConfig",
    "FleetConfig",
    "GatewayConfig",
    "KeyConfig",
    "LoadedConfig",
    "Policy",
    "ProviderConfig",
    "RouteConfig",
    "ServerConfig",
    "SuggestConfig",
    "TelemetryConfig",
    "config_from_source",
    "did_you_mean",
    "load",
    "loads",
    "read_source",
    "resolve_secrets",
    "secret_fields",
    "validate",
]
