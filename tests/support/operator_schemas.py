"""Validates objects of the Prometheus operator and KEDA strictly; run by .tools/operators/bin/python.

Reads JSON objects on stdin and prints one problem per line. The models accept unknown keys, so unknown
properties are forbidden in their schemas.
"""

import json
import sys
from typing import Any

from cloudcoil.models.keda import v1alpha1 as keda
from cloudcoil.models.prometheus_operator import v1 as operator
from jsonschema import Draft202012Validator

MODELS = {
    "PodMonitor": operator.PodMonitor,
    "PrometheusRule": operator.PrometheusRule,
    "ScaledObject": keda.ScaledObject,
}


def forbid_unknown_properties(schema: Any) -> Any:
    """The schema with no additional properties in any object that lists its properties."""
    if isinstance(schema, list):
        return [forbid_unknown_properties(part) for part in schema]
    if not isinstance(schema, dict):
        return schema
    closed = {key: forbid_unknown_properties(value) for key, value in schema.items()}
    if isinstance(closed.get("properties"), dict) and "type" in closed:
        closed["additionalProperties"] = False
    return closed


for candidate in json.load(sys.stdin):
    schema = forbid_unknown_properties(MODELS[candidate["kind"]].model_json_schema(by_alias=True))
    for error in Draft202012Validator(schema).iter_errors(candidate):
        print(f"{candidate['kind']}: {error.json_path}: {error.message[:200]}")
