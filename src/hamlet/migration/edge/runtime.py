"""Envoy's runtime file: for each feature, whether its traffic goes to hamlet.

Envoy's runtime discovery service reads it from a watched path, and only when a file is moved into
place: https://www.envoyproxy.io/docs/envoy/latest/configuration/operations/runtime
"""

from __future__ import annotations

import json
import os
import tempfile
from pathlib import Path
from typing import Any

from hamlet.config.cutover import CutoverConfig
from hamlet.migration.rollout_document import RolloutDocument

RUNTIME_LAYER = "hamlet_cutover"


def runtime_key(feature: str) -> str:
    """The runtime key of a feature's cluster weights."""
    return f"hamlet.adopted.{feature}"


def runtime_response(config: CutoverConfig, document: RolloutDocument) -> dict[str, Any]:
    """The discovery response. Both clusters of a feature have a key: weights must add up to 100."""
    layer: dict[str, Any] = {}
    for name in config.features:
        adopted = document.feature_state(name).adopted
        layer[f"{runtime_key(name)}.hamlet2"] = 100 if adopted else 0
        layer[f"{runtime_key(name)}.hamlet1"] = 0 if adopted else 100
    resource = {
        "@type": "type.googleapis.com/envoy.service.runtime.v3.Runtime",
        "name": RUNTIME_LAYER,
        "layer": layer,
    }
    return {"version_info": str(document.epoch), "resources": [resource]}


def write_runtime(path: Path, config: CutoverConfig, document: RolloutDocument) -> None:
    """Write the file atomically."""
    path.parent.mkdir(parents=True, exist_ok=True)
    text = json.dumps(runtime_response(config, document), indent=2) + "\n"
    with tempfile.NamedTemporaryFile(
        "w", dir=path.parent, prefix=".runtime-", delete=False, encoding="utf-8"
    ) as file:
        file.write(text)
    Path(file.name).chmod(0o644)
    os.replace(file.name, path)
