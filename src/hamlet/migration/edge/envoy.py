"""Envoy's configuration. Its three quiet traps are set right here: see `_health` and `_hamlet2`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from hamlet.config.cutover import CutoverConfig
from hamlet.migration.edge.addresses import split
from hamlet.migration.edge.runtime import LAYER, runtime_key
from hamlet.migration.model import Document

_TYPES = "type.googleapis.com/envoy.extensions"
_MANAGER = f"{_TYPES}.filters.network.http_connection_manager.v3.HttpConnectionManager"
_ROUTER = f"{_TYPES}.filters.http.router.v3.Router"
_NOT_AGAIN = f"{_TYPES}.retry.host.previous_hosts.v3.PreviousHostsPredicate"


def envoy(config: CutoverConfig, document: Document, admin_port: int = 9901) -> str:
    """The whole bootstrap, as YAML."""
    admin = {"address": _address("127.0.0.1", admin_port)}
    clusters = [_hamlet2(config), _hamlet1(config)]
    bootstrap: dict[str, Any] = {
        "node": {"id": "edge", "cluster": "edge"},
        "admin": admin,
        "static_resources": {"listeners": [_listener(config, document)], "clusters": clusters},
    }
    if config.edge.runtime is not None:
        bootstrap["layered_runtime"] = {"layers": [_layer(config.edge.runtime)]}
    return yaml.safe_dump(bootstrap, sort_keys=False, width=100)


def _listener(config: CutoverConfig, document: Document) -> dict[str, Any]:
    hosts = [{"name": "all", "domains": ["*"], "routes": _routes(config, document)}]
    manager = {
        "@type": _MANAGER,
        "stat_prefix": "edge",
        "use_remote_address": True,
        "stream_idle_timeout": "300s",
        "route_config": {"name": "features", "virtual_hosts": hosts},
        "http_filters": [{"name": "router", "typed_config": {"@type": _ROUTER}}],
    }
    filters = [{"name": "http", "typed_config": manager}]
    address = _address(*split(config.edge.listen))
    return {"name": "edge", "address": address, "filter_chains": [{"filters": filters}]}


def _routes(config: CutoverConfig, document: Document) -> list[dict[str, Any]]:
    rows = [(path, name) for name, feature in config.features.items() for path in feature.paths]
    # Exact paths first, then the longest prefix: hamlet decides alike.
    rows.sort(key=lambda row: (row[0].endswith("*"), -len(row[0]), row[0]))
    routes = [
        {"match": _match(path), "route": _weighted(name, document.of(name).adopted)}
        for path, name in rows
    ]
    rest = {"match": {"prefix": "/"}, "route": {"cluster": "hamlet1", "timeout": "0s"}}
    return [*routes, rest]


def _match(path: str) -> dict[str, str]:
    return {"prefix": path[:-1]} if path.endswith("*") else {"path": path}


def _weighted(feature: str, adopted: bool) -> dict[str, Any]:
    clusters = [
        {"name": "hamlet2", "weight": 100 if adopted else 0},
        {"name": "hamlet1", "weight": 0 if adopted else 100},
    ]
    weighted = {"clusters": clusters, "runtime_key_prefix": runtime_key(feature)}
    retry = {
        "retry_on": "connect-failure,refused-stream,reset",
        "num_retries": 3,
        "retry_host_predicate": [
            {"name": "not_the_same_again", "typed_config": {"@type": _NOT_AGAIN}}
        ],
        "host_selection_retry_max_attempts": 5,
        "retry_back_off": {"base_interval": "0.025s", "max_interval": "0.25s"},
    }
    # Answers of models take long: hamlet has deadlines of its own.
    return {"weighted_clusters": weighted, "timeout": "0s", "retry_policy": retry}


def _hamlet2(config: CutoverConfig) -> dict[str, Any]:
    """hamlet, and hamlet1 below it for when no hamlet is well.

    Envoy allows three retries at once in a cluster unless told otherwise; a restart needs more.
    """
    well = [_endpoint(address) for address in config.edge.hamlet2]
    instead = _endpoint(config.edge.hamlet1)
    # hamlet1 knows no /readyz.
    instead["endpoint"]["health_check_config"] = {"disable_active_health_check": True}
    endpoints = [{"lb_endpoints": well, "priority": 0}, {"lb_endpoints": [instead], "priority": 1}]
    breaker = {"max_retries": 200, "max_requests": 10_000, "max_connections": 10_000}
    # Else a third of all goes to hamlet1 as soon as half of the hamlets restart.
    policy = {"overprovisioning_factor": 100 * len(well)}
    return {
        **_cluster("hamlet2", endpoints, policy),
        "health_checks": [_health()],
        "common_lb_config": {"healthy_panic_threshold": {"value": 0}},
        "circuit_breakers": {"thresholds": [{**breaker, "max_pending_requests": 10_000}]},
    }


def _hamlet1(config: CutoverConfig) -> dict[str, Any]:
    return _cluster("hamlet1", [{"lb_endpoints": [_endpoint(config.edge.hamlet1)]}])


def _cluster(
    name: str, endpoints: list[dict[str, Any]], policy: dict[str, Any] | None = None
) -> dict[str, Any]:
    assignment: dict[str, Any] = {"cluster_name": name, "endpoints": endpoints}
    if policy is not None:
        assignment["policy"] = policy
    return {
        "name": name,
        "type": "STRICT_DNS",
        "connect_timeout": "1s",
        "lb_policy": "LEAST_REQUEST",
        "load_assignment": assignment,
    }


def _health() -> dict[str, Any]:
    """A host without traffic is checked only every 60 s unless told otherwise (envoy #16724)."""
    return {
        "timeout": "1s",
        "interval": "0.5s",
        "no_traffic_interval": "0.5s",
        "unhealthy_threshold": 1,
        "healthy_threshold": 1,
        "http_health_check": {"path": "/readyz"},
    }


def _layer(file: Path) -> dict[str, Any]:
    source = {"path": str(file), "watched_directory": {"path": str(file.parent)}}
    rtds = {"path_config_source": source, "resource_api_version": "V3"}
    return {"name": LAYER, "rtds_layer": {"name": LAYER, "rtds_config": rtds}}


def _endpoint(address: str) -> dict[str, Any]:
    return {"endpoint": {"address": _address(*split(address))}}


def _address(host: str, port: int) -> dict[str, Any]:
    return {"socket_address": {"address": host, "port_value": port}}
