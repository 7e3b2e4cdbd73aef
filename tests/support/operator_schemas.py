"""Objects of the Prometheus operator and KEDA against their schemas, strictly: run by .tools/bin/python.

JSON objects on stdin, one complaint a line on stdout. The models take unknown keys; their schemas do not,
once they are told so.
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
    """The schema, with every object of known properties closed."""
    if isinstance(schema, list):
        return [forbid_unknown_properties(part) for part in schema]
    if not isinstance(schema, dict):
        return schema
    closed = {key: forbid_unknown_properties(value) for key, value in schema.items()}
    if isinstance(closed.get("properties"), dict) and "type" in closed:
        closed["additionalProperties"] = False
    return closed


for thing in json.load(sys.stdin):
    schema = forbid_unknown_properties(MODELS[thing["kind"]].model_json_schema(by_alias=True))
    for error in Draft202012Validator(schema).iter_errors(thing):
        print(f"{thing['kind']}: {error.json_path}: {error.message[:200]}")
