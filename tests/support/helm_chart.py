"""The chart rendered by Helm itself.

`python -m support.helm_chart` rewrites deploy/rendered; `python -m support.helm_chart schemas` validates
the objects for operators, which takes too long for every commit.
"""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml

from support.paths import ROOT

CHART = ROOT / "deploy/helm/hamlet"
RENDERED = ROOT / "deploy/rendered"
GOLDEN = ("dev", "prod")
# Every switch that is off in the committed manifests.
SWITCHES = {
    "secrets": {"external": {"enabled": True, "store": {"name": "vault"}, "key": "llm/hamlet"}},
    "autoscaling": {"keda": {"enabled": True, "prometheus": "http://prometheus:9090"}},
    "monitoring": {
        "podMonitor": {"enabled": True, "labels": {"release": "prometheus"}},
        "rules": {"enabled": True},
        "dashboards": {"enabled": True},
    },
    "preStop": {"sleep": {"seconds": 3}},
    "extraEnv": [{"name": "TZ", "value": "Asia/Seoul"}],
    "podAnnotations": {"example.com/team": "llm"},
    "imagePullSecrets": [{"name": "registry"}],
    "tolerations": [{"key": "spot", "operator": "Exists"}],
    "nodeSelector": {"pool": "general"},
}
_HELM = ROOT / ".tools/helm/bin/python"
_HEADER = "# Made by `make rendered` of deploy/helm/{name}.yaml; change the chart or its values instead.\n"
_HAS_HELM = pytest.mark.skipif(not _HELM.exists(), reason="deploy/tools.sh found no Python 3.12")


def needs_helm(test: Callable[..., Any]) -> Callable[..., Any]:
    return pytest.mark.external(_HAS_HELM(test))


def find_tool(name: str) -> str:
    """One of the programs of deploy/tools.sh; skips the test if it is not there."""
    found = shutil.which(name, path=str(ROOT / ".tools/bin"))
    if found is None:
        pytest.skip(f"{name} is not installed")
    return found


def load_values(name: str) -> dict[str, Any]:
    return yaml.safe_load((ROOT / f"deploy/helm/{name}.yaml").read_text())


def install_job(given: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"name": "hamlet", "namespace": "llm", "chart": str(CHART), "values": given, **more}


def run_helm(*jobs: dict[str, Any], lint: bool = False) -> dict[str, Any]:
    """Helm's result of each job, against a fake API server: see helm_sdk.py."""
    request = {"install": list(jobs), "lint": [str(CHART)] if lint else []}
    done = subprocess.run(
        [_HELM, Path(__file__).with_name("helm_sdk.py")],
        input=json.dumps(request),
        capture_output=True,
        text=True,
        timeout=120,
        env={"PATH": os.environ["PATH"], "HOME": "/nonexistent"},
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout)


@cache
def committed_objects(name: str) -> list[dict[str, Any]]:
    """The objects of a committed manifest."""
    return list(yaml.safe_load_all((RENDERED / f"{name}.yaml").read_text()))


def manifest_text(name: str, manifest: str) -> str:
    """The content of the committed file."""
    return _HEADER.format(name=name) + manifest.strip() + "\n"


def check_operator_schemas() -> None:
    """Report properties that the Prometheus operator and KEDA do not know."""
    results = run_helm(install_job(SWITCHES), install_job(load_values("prod")))["install"]
    objects = [o for result in results for o in yaml.safe_load_all(result["manifest"])]
    kinds = ("PodMonitor", "PrometheusRule", "ScaledObject")
    checked = [o for o in objects if o["kind"] in kinds]
    assert {o["kind"] for o in checked} == set(kinds)
    broken = json.loads(json.dumps(checked[0]))
    broken["spec"]["nonsense"] = 1
    program = [
        ROOT / ".tools/operators/bin/python",
        Path(__file__).with_name("operator_schemas.py"),
    ]
    for candidates, problem_count in ((checked, 0), ([broken], 1)):
        done = subprocess.run(
            program, input=json.dumps(candidates), stdout=subprocess.PIPE, text=True, check=True
        )
        if len(done.stdout.splitlines()) != problem_count:
            sys.exit(done.stdout or "an invalid object passes")
    print(f"{len(checked)} objects for operators are valid; an invalid one was found")


def main() -> None:
    if sys.argv[1:] == ["schemas"]:
        return check_operator_schemas()
    results = run_helm(*(install_job(load_values(name)) for name in GOLDEN))
    for name, result in zip(GOLDEN, results["install"], strict=True):
        assert "error" not in result, result
        (RENDERED / f"{name}.yaml").write_text(manifest_text(name, result["manifest"]))
        print(RENDERED / f"{name}.yaml")


if __name__ == "__main__":
    main()
