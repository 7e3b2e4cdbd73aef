"""A Gateway API HTTPRoute: https://gateway-api.sigs.k8s.io/reference/spec/#httproute

The core API has weights but no failover by health: while no hamlet pod is ready, requests get a 503
until a rollback is exported (`hamlet cutover export`) and applied.
"""

from __future__ import annotations

from typing import Any

import yaml

from hamlet.config.cutover import CutoverConfig
from hamlet.migration.edge.addresses import split_host_port
from hamlet.migration.rollout_document import RolloutDocument


def render_gateway_api(config: CutoverConfig, document: RolloutDocument) -> str:
    """One HTTPRoute as YAML. Service names are the first labels of the addresses' hosts."""
    rules: list[dict[str, Any]] = []
    for name, feature in config.features.items():
        matches = [{"path": _path_match(path)} for path in feature.paths]
        adopted = document.feature_state(name).adopted
        refs = [
            _backend_ref(config.edge.hamlet2[0], 100 if adopted else 0),
            _backend_ref(config.edge.hamlet1, 0 if adopted else 100),
        ]
        rules.append({"name": name.replace("_", "-"), "matches": matches, "backendRefs": refs})
    rest = {"path": {"type": "PathPrefix", "value": "/"}}
    rules.append({"matches": [rest], "backendRefs": [_backend_ref(config.edge.hamlet1, 1)]})
    route = {
        "apiVersion": "gateway.networking.k8s.io/v1",
        "kind": "HTTPRoute",
        "metadata": {
            "name": "hamlet-cutover",
            "annotations": {"hamlet.dev/epoch": str(document.epoch)},
        },
        "spec": {"parentRefs": [{"name": "edge"}], "rules": rules},
    }
    return yaml.safe_dump(route, sort_keys=False, width=100)


def _path_match(path: str) -> dict[str, str]:
    if path.endswith("*"):
        return {"type": "PathPrefix", "value": path[:-1].rstrip("/") or "/"}
    return {"type": "Exact", "value": path}


def _backend_ref(address: str, weight: int) -> dict[str, Any]:
    host, port = split_host_port(address)
    return {"name": host.partition(".")[0], "port": port, "weight": weight}
