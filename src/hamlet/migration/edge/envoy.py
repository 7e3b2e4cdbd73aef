"""Envoy's bootstrap configuration.

Three of Envoy's defaults do not suit a rolling restart and are overridden: the interval of health
checks without traffic (`_health_check`), the retry limit and the overprovisioning factor
(`_hamlet2_cluster`).
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from hamlet.config.cutover import CutoverConfig
from hamlet.migration.edge.addresses import split_host_port
from hamlet.migration.edge.runtime import RUNTIME_LAYER, runtime_key
from hamlet.migration.rollout_document import RolloutDocument

_TYPES = "type.googleapis.com/envoy.extensions"
_MANAGER = f"{_TYPES}.filters.network.http_connection_manager.v3.HttpConnectionManager"
_ROUTER = f"{_TYPES}.filters.http.router.v3.Router"
_PREVIOUS_HOSTS = f"{_TYPES}.retry.host.previous_hosts.v3.PreviousHostsPredicate"


def render_envoy(config: CutoverConfig, document: RolloutDocument, admin_port: int = 9901) -> str:
    """The bootstrap configuration as YAML."""
    admin = {"address": _socket_address("127.0.0.1", admin_port)}
    clusters = [_hamlet2_cluster(config), _hamlet1_cluster(config)]
    bootstrap: dict[str, Any] = {
        "node": {"id": "edge", "cluster": "edge"},
        "admin": admin,
        "static_resources": {"listeners": [_listener(config, document)], "clusters": clusters},
    }
    if config.edge.runtime is not None:
        bootstrap["layered_runtime"] = {"layers": [_runtime_layer(config.edge.runtime)]}
    return yaml.safe_dump(bootstrap, sort_keys=False, width=100)


def _listener(config: CutoverConfig, document: RolloutDocument) -> dict[str, Any]:
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
    address = _socket_address(*split_host_port(config.edge.listen))
    return {"name": "edge", "address": address, "filter_chains": [{"filters": filters}]}


def _routes(config: CutoverConfig, document: RolloutDocument) -> list[dict[str, Any]]:
    rows = [(path, name) for name, feature in config.features.items() for path in feature.paths]
    # Exact paths first, then the longest prefix: the same order as FeatureSet.match.
    rows.sort(key=lambda row: (row[0].endswith("*"), -len(row[0]), row[0]))
    routes = [
        {
            "match": _match(path),
            "route": _weighted_clusters(name, document.feature_state(name).adopted),
        }
        for path, name in rows
    ]
    rest = {"match": {"prefix": "/"}, "route": {"cluster": "hamlet1", "timeout": "0s"}}
    return [*routes, rest]


def _match(path: str) -> dict[str, str]:
    return {"prefix": path[:-1]} if path.endswith("*") else {"path": path}


def _weighted_clusters(feature: str, adopted: bool) -> dict[str, Any]:
    clusters = [
        {"name": "hamlet2", "weight": 100 if adopted else 0},
        {"name": "hamlet1", "weight": 0 if adopted else 100},
    ]
    weighted = {"clusters": clusters, "runtime_key_prefix": runtime_key(feature)}
    retry = {
        "retry_on": "connect-failure,refused-stream,reset",
        "num_retries": 3,
        "retry_host_predicate": [
            {"name": "not_the_same_again", "typed_config": {"@type": _PREVIOUS_HOSTS}}
        ],
        "host_selection_retry_max_attempts": 5,
        "retry_back_off": {"base_interval": "0.025s", "max_interval": "0.25s"},
    }
    # Model responses take long, and hamlet enforces its own deadlines.
    return {"weighted_clusters": weighted, "timeout": "0s", "retry_policy": retry}


def _hamlet2_cluster(config: CutoverConfig) -> dict[str, Any]:
    """hamlet at the first priority, hamlet1 at the second for when no hamlet is healthy.

    Envoy allows three concurrent retries per cluster by default; a restart needs more.
    """
    primary = [_lb_endpoint(address) for address in config.edge.hamlet2]
    fallback = _lb_endpoint(config.edge.hamlet1)
    # hamlet1 has no /readyz.
    fallback["endpoint"]["health_check_config"] = {"disable_active_health_check": True}
    endpoints = [
        {"lb_endpoints": primary, "priority": 0},
        {"lb_endpoints": [fallback], "priority": 1},
    ]
    breaker = {"max_retries": 200, "max_requests": 10_000, "max_connections": 10_000}
    # Without this, a third of the traffic spills to hamlet1 once half of the hamlets restart.
    policy = {"overprovisioning_factor": 100 * len(primary)}
    return {
        **_cluster("hamlet2", endpoints, policy),
        "health_checks": [_health_check()],
        "common_lb_config": {"healthy_panic_threshold": {"value": 0}},
        "circuit_breakers": {"thresholds": [{**breaker, "max_pending_requests": 10_000}]},
    }


def _hamlet1_cluster(config: CutoverConfig) -> dict[str, Any]:
    return _cluster("hamlet1", [{"lb_endpoints": [_lb_endpoint(config.edge.hamlet1)]}])


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


def _health_check() -> dict[str, Any]:
    """By default, Envoy checks a host without traffic only every 60 s.

    https://github.com/envoyproxy/envoy/issues/16724
    """
    return {
        "timeout": "1s",
        "interval": "0.5s",
        "no_traffic_interval": "0.5s",
        "unhealthy_threshold": 1,
        "healthy_threshold": 1,
        "http_health_check": {"path": "/readyz"},
    }


def _runtime_layer(file: Path) -> dict[str, Any]:
    source = {"path": str(file), "watched_directory": {"path": str(file.parent)}}
    rtds = {"path_config_source": source, "resource_api_version": "V3"}
    return {"name": RUNTIME_LAYER, "rtds_layer": {"name": RUNTIME_LAYER, "rtds_config": rtds}}


def _lb_endpoint(address: str) -> dict[str, Any]:
    return {"endpoint": {"address": _socket_address(*split_host_port(address))}}


def _socket_address(host: str, port: int) -> dict[str, Any]:
    return {"socket_address": {"address": host, "port_value": port}}
