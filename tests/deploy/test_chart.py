"""The chart, rendered and installed by Helm against a recording API server."""

import json
import subprocess
from pathlib import Path

import pytest
import yaml

from hamlet.config import loads
from hamlet.migration.rollout_document import RolloutDocument
from hamlet.registry import build_registry
from hamlet.testing.support import SilentLog
from support.helm_chart import (
    GOLDEN,
    RENDERED,
    ROOT,
    SWITCHES,
    committed_objects,
    find_tool,
    install_job,
    load_values,
    manifest_text,
    needs_helm,
    run_helm,
)

KEY = {"secrets": {"values": {"HAMLET_KEY": "sk-example-0123456789"}}}
MIGRATION_STATE = {"epoch": 7, "written_at": 1.0, "features": {"chat": {"stage": "new"}}}
BAD_VALUES = {
    "an unknown key": ({**KEY, "replica": 3}, "replica"),
    "a wrong type": ({**KEY, "replicas": "three"}, "replicas"),
    "a budget of nothing": ({**KEY, "disruption": {"maxUnavailable": 0}}, "maxUnavailable"),
    "half a configuration": ({**KEY, "config": {"routes": {}}}, "providers"),
    "no secrets": ({}, "give exactly one of"),
    "secrets from two places": ({"secrets": {**KEY["secrets"], "existing": "x"}}, "exactly one"),
}


@pytest.fixture(scope="module")
def helm_results():
    jobs = [install_job(load_values(name)) for name in GOLDEN]
    jobs += [install_job(SWITCHES), install_job(KEY)]
    jobs.append(
        install_job(
            load_values("prod"),
            there={"hamlet-cutover": {"state.json": json.dumps(MIGRATION_STATE)}},
        )
    )
    jobs += [install_job(given) for given, _ in BAD_VALUES.values()]
    results = run_helm(*jobs, lint=True)
    names = [*GOLDEN, "switches", "default", "upgrade", *BAD_VALUES]
    return dict(zip(names, results["install"], strict=True)) | {"lint": results["lint"]}


@needs_helm
@pytest.mark.parametrize("name", GOLDEN)
def test_committed_manifests_are_current(helm_results, name: str) -> None:
    made = manifest_text(name, helm_results[name]["manifest"])
    assert (RENDERED / f"{name}.yaml").read_text() == made, "make rendered"


@needs_helm
@pytest.mark.parametrize("name", [*GOLDEN, "switches", "default"])
def test_everything_in_the_manifest_is_installed(helm_results, name: str) -> None:
    objects = list(yaml.safe_load_all(helm_results[name]["manifest"]))
    of = {(o["kind"], o["metadata"]["name"]): o for o in objects}
    got = {(o["kind"], o["metadata"]["name"]): o for o in helm_results[name]["recorded"]}
    assert of.keys() == got.keys()
    assert len(of) == len(objects), "two objects of one name"
    for key, o in of.items():
        assert got[key].get("spec") == o.get("spec"), key


@needs_helm
@pytest.mark.parametrize("name", BAD_VALUES)
def test_invalid_values_are_rejected(helm_results, name: str) -> None:
    assert BAD_VALUES[name][1] in helm_results[name]["error"]


@needs_helm
def test_helm_lint_passes(helm_results) -> None:
    (linted,) = helm_results["lint"]
    assert linted["TotalChartsLinted"] == 1
    assert not linted["Errors"]
    assert all(message["Severity"] < 2 for message in linted["Messages"]), linted


@needs_helm
def test_each_switch_adds_its_objects(helm_results) -> None:
    objects = list(yaml.safe_load_all(helm_results["switches"]["manifest"]))
    kinds = [o["kind"] for o in objects]
    assert {"ExternalSecret", "ScaledObject", "PodMonitor", "PrometheusRule"} <= set(kinds)
    assert not {"Secret", "HorizontalPodAutoscaler"} & set(kinds)
    boards = {
        name: json.loads(body)
        for o in objects
        if o["metadata"]["labels"].get("grafana_dashboard") == "1"
        for name, body in o["data"].items()
    }
    files = {f.name: json.loads(f.read_text()) for f in (ROOT / "dashboards").glob("*.json")}
    assert boards == files
    monitor = next(o for o in objects if o["kind"] == "PodMonitor")
    assert monitor["metadata"]["labels"]["release"] == "prometheus"


@needs_helm
def test_an_upgrade_does_not_move_features_back(helm_results) -> None:
    kept = next(
        o for o in helm_results["upgrade"]["recorded"] if o["metadata"]["name"] == "hamlet-cutover"
    )
    assert (
        RolloutDocument.model_validate_json(kept["data"]["state.json"]).feature_state("chat").stage
        == "new"
    )


@pytest.mark.parametrize("name", GOLDEN)
def test_manifests_pass_kubernetes_schema(name: str) -> None:
    words = [find_tool("kubernetes-validate"), "--strict", "--no-warn", "-k", "1.33"]
    ran = subprocess.run([*words, RENDERED / f"{name}.yaml"], capture_output=True, text=True)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert "deployment/hamlet" in ran.stdout + ran.stderr


def test_unknown_kubernetes_field_is_reported(tmp_path: Path) -> None:
    """The check can fail."""
    broken = (RENDERED / "dev.yaml").read_text().replace("livenessProbe:", "livenesProbe:")
    (tmp_path / "broken.yaml").write_text(broken)
    words = [find_tool("kubernetes-validate"), "--strict", "-k", "1.33", tmp_path / "broken.yaml"]
    ran = subprocess.run(words, capture_output=True, text=True)
    assert ran.returncode != 0
    assert "livenesProbe" in ran.stdout + ran.stderr


@pytest.mark.parametrize("name", GOLDEN)
def test_manifest_configuration_loads(name, tmp_path) -> None:
    data = next(
        o["data"]
        for o in committed_objects(name)
        if o["kind"] == "ConfigMap" and "hamlet.yaml" in o.get("data", {})
    )
    config = data["hamlet.yaml"].replace("/etc/hamlet/secrets", str(tmp_path))
    for secret in ("HAMLET_KEY", "BACKEND_KEY", "OPERATOR_KEY", "OPENAI_API_KEY", "REDIS_URL"):
        value = "redis://redis:6379/0" if secret == "REDIS_URL" else f"sk-{secret}-0123456789"
        (tmp_path / secret).write_text(value + "\n")
    (tmp_path / "ANTHROPIC_API_KEY").write_text("sk-ant-0123456789")
    loaded = loads(config)
    assert build_registry(loaded, SilentLog()).routes
    # A provider of the defaults must not respond in a production configuration.
    assert ("embedded" in loaded.config.providers) == (name == "dev")


@pytest.mark.external("promtool")
def test_manifest_rules_pass_promtool(tmp_path: Path) -> None:
    rule = next(o for o in committed_objects("prod") if o["kind"] == "PrometheusRule")
    (tmp_path / "rules.yml").write_text(yaml.safe_dump(rule["spec"]))
    words = ["promtool", "check", "rules", tmp_path / "rules.yml"]
    ran = subprocess.run(words, capture_output=True, text=True)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert rule["spec"] == yaml.safe_load((ROOT / "deploy/prometheus/rules.yml").read_text())
