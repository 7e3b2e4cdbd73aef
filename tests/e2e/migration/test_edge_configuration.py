"""Edge configurations: accepted by the real programs, and equal to the committed examples."""

import json
import subprocess
from pathlib import Path

import pytest
import yaml

from hamlet.config import load
from hamlet.migration.config_check import resolve_config
from hamlet.migration.edge import render_envoy, render_gateway_api, render_nginx, write_runtime
from hamlet.migration.rollout_document import FeatureState, RolloutDocument
from support.paths import ROOT
from support.programs import find_program

EDGE = ROOT / "deploy/edge"
NODE = ROOT / "tests/e2e/node"
TYPED = """
import type {{ IHTTPRoute }} from '@kubernetes-models/gateway-api/gateway.networking.k8s.io/v1';
export const route: IHTTPRoute = {};
"""
MIXED_STAGES = RolloutDocument(
    epoch=7,
    features={
        "chat": FeatureState(stage="canary", weight_bp=500),
        "related_links": FeatureState(stage="proxy"),
    },
)


@pytest.fixture
def config(monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "sk-example-0123456789")
    loaded = load(ROOT / "deploy/examples/cutover.yaml")
    config = resolve_config(loaded)
    # The committed examples must not contain the path of this checkout.
    runtime = Path("/etc/hamlet/cutover/runtime.json")
    return config.model_copy(update={"edge": config.edge.model_copy(update={"runtime": runtime})})


@pytest.mark.parametrize(
    ("write", "name"),
    [
        (render_envoy, "envoy.yaml"),
        (render_gateway_api, "gateway-api.yaml"),
        (render_nginx, "nginx.conf"),
    ],
)
def test_committed_edge_files_are_current(config, write, name) -> None:
    assert (EDGE / name).read_text() == write(config, MIXED_STAGES)
    assert write(config, MIXED_STAGES) == write(config, MIXED_STAGES)


@pytest.mark.external("envoy")
def test_envoy_accepts_configuration(config, tmp_path) -> None:
    edge = config.edge.model_copy(update={"runtime": tmp_path / "runtime.json"})
    config = config.model_copy(update={"edge": edge})
    write_runtime(tmp_path / "runtime.json", config, MIXED_STAGES)
    (tmp_path / "envoy.yaml").write_text(render_envoy(config, MIXED_STAGES))
    words = [find_program("envoy"), "--mode", "validate", "-c", str(tmp_path / "envoy.yaml")]
    ran = subprocess.run(words, capture_output=True, text=True, timeout=150)
    assert ran.returncode == 0, ran.stderr[-2000:]


@pytest.mark.external("nginx")
def test_nginx_accepts_configuration(config, tmp_path) -> None:
    # Service names resolve only in the cluster.
    text = render_nginx(config, MIXED_STAGES)
    for name in ("hamlet1", "hamlet2-0", "hamlet2-1"):
        text = text.replace(f"server {name}:", "server 127.0.0.1:")
    (tmp_path / "edge.conf").write_text(text)
    (tmp_path / "nginx.conf").write_text(
        f"pid {tmp_path}/pid; error_log stderr; events {{}}\n"
        f"http {{ access_log off; include {tmp_path}/edge.conf; }}\n"
    )
    ran = subprocess.run(
        [find_program("nginx"), "-t", "-p", str(tmp_path), "-c", str(tmp_path / "nginx.conf")],
        capture_output=True,
        text=True,
        timeout=150,
    )
    assert ran.returncode == 0, ran.stderr


@pytest.mark.external("node")
@pytest.mark.skipif(not (NODE / "node_modules/@kubernetes-models").exists(), reason="npm ci")
def test_gateway_api_route_passes_schema(config, tmp_path) -> None:
    """Values are checked by the CRD's schema, field names by the types generated from it."""

    valid = yaml.safe_load(render_gateway_api(config, MIXED_STAGES))
    invalid = yaml.safe_load(render_gateway_api(config, MIXED_STAGES))
    backend = invalid["spec"]["rules"][0]["backendRefs"][0]
    backend["wieght"], backend["port"] = backend.pop("weight"), 70_000

    def output_of(*words: str | Path, stdin: str = "") -> str:
        done = subprocess.run(words, input=stdin, capture_output=True, text=True, timeout=150)
        return done.stdout + done.stderr

    assert output_of("node", NODE / "route.js", stdin=json.dumps(valid)) == ""
    errors = output_of("node", NODE / "route.js", stdin=json.dumps(invalid))
    assert "port must be <= 65535" in errors

    (tmp_path / "node_modules").symlink_to(NODE / "node_modules")
    files = [tmp_path / "good.ts", tmp_path / "bad.ts"]
    for file, route in zip(files, (valid, invalid), strict=True):
        file.write_text(TYPED.format(json.dumps(route)))
    strict = ("--strict", "--noEmit", "--module", "nodenext", "--target", "es2022")
    errors = output_of(NODE / "node_modules/.bin/tsc", *strict, "--skipLibCheck", *files)
    assert "'\"wieght\"' does not exist" in errors
    assert "good.ts" not in errors


def test_edge_routes_each_feature_to_one_side(config, tmp_path) -> None:
    write_runtime(tmp_path / "runtime.json", config, MIXED_STAGES)
    layer = json.loads((tmp_path / "runtime.json").read_text())["resources"][0]["layer"]
    routes = yaml.safe_load(render_gateway_api(config, MIXED_STAGES))["spec"]["rules"]
    by_name = {rule.get("name"): rule["backendRefs"] for rule in routes}
    for feature, adopted in (("chat", 100), ("related_links", 100), ("chips", 0)):
        assert layer[f"hamlet.adopted.{feature}.hamlet2"] == adopted
        assert layer[f"hamlet.adopted.{feature}.hamlet1"] == 100 - adopted
        weights = [ref["weight"] for ref in by_name[feature.replace("_", "-")]]
        assert weights == [adopted, 100 - adopted]
