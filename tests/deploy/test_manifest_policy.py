"""Policies that every rendered manifest keeps."""

import math
from typing import Any

import pytest
import yaml

from support.helm_chart import GOLDEN, committed_objects

Objects = list[dict[str, Any]]


def of_kind(objects: Objects, kind: str) -> Objects:
    return [o for o in objects if o["kind"] == kind]


@pytest.fixture(params=GOLDEN)
def objects(request) -> Objects:
    return committed_objects(request.param)


@pytest.fixture
def workload(objects: Objects) -> dict[str, Any]:
    (found,) = of_kind(objects, "Deployment")
    return found


@pytest.fixture
def pod(workload) -> dict[str, Any]:
    return workload["spec"]["template"]


@pytest.fixture
def config(objects: Objects) -> dict[str, Any]:
    text = next(o["data"]["hamlet.yaml"] for o in objects if "hamlet.yaml" in o.get("data", {}))
    return yaml.safe_load(text)


def test_no_container_can_become_root(pod) -> None:
    spec = pod["spec"]
    assert spec["securityContext"]["runAsNonRoot"] is True
    assert spec["securityContext"]["runAsUser"] == 10001
    assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert spec["automountServiceAccountToken"] is False
    for container in spec["containers"]:
        context = container["securityContext"]
        assert context["allowPrivilegeEscalation"] is False
        assert context["readOnlyRootFilesystem"] is True
        assert context["capabilities"] == {"drop": ["ALL"]}


def test_memory_is_limited_and_cpu_is_not(pod) -> None:
    for container in pod["spec"]["containers"]:
        assert container["resources"]["requests"].keys() == {"cpu", "memory"}
        assert container["resources"]["limits"].keys() == {"memory"}


def test_probes_only_call_hamlet(pod) -> None:
    (container,) = pod["spec"]["containers"]
    probe_paths = {k: container[k]["httpGet"]["path"] for k in container if k.endswith("Probe")}
    assert probe_paths == {
        "startupProbe": "/livez", "livenessProbe": "/livez", "readinessProbe": "/readyz"
    }  # fmt: skip
    assert container["readinessProbe"]["failureThreshold"] == 1


def test_termination_grace_period_exceeds_drain(pod, config) -> None:
    drain = config["server"]["drain_delay_s"] + config["server"]["drain_s"]
    grace = pod["spec"]["terminationGracePeriodSeconds"]
    assert grace >= math.ceil(drain) + 10
    # A readiness probe fails within the delay, so new traffic has stopped by then.
    (container,) = pod["spec"]["containers"]
    assert config["server"]["drain_delay_s"] >= 1
    if grace > 60:
        assert config["server"]["drain_delay_s"] > container["readinessProbe"]["periodSeconds"]


def test_rollout_keeps_old_pods_until_new_ones_are_ready(workload) -> None:
    update = workload["spec"]["strategy"]["rollingUpdate"]
    assert update == {"maxSurge": 1, "maxUnavailable": 0}


def test_disruption_budget_allows_node_drain(objects, workload) -> None:
    scalers = of_kind(objects, "HorizontalPodAutoscaler")
    replicas = scalers[0]["spec"]["minReplicas"] if scalers else workload["spec"]["replicas"]
    budgets = of_kind(objects, "PodDisruptionBudget")
    assert bool(budgets) == (replicas > 1), "one replica and a budget: no node can be drained"
    for budget in budgets:
        assert 0 < budget["spec"]["maxUnavailable"] < replicas


def test_replica_count_is_set_only_without_autoscaler(objects, workload) -> None:
    scalers = of_kind(objects, "HorizontalPodAutoscaler")
    assert ("replicas" in workload["spec"]) != bool(scalers)
    for scaler in scalers:
        target = scaler["spec"]["scaleTargetRef"]
        assert (target["kind"], target["name"]) == ("Deployment", workload["metadata"]["name"])
        assert scaler["spec"]["minReplicas"] <= scaler["spec"]["maxReplicas"]


def test_selectors_find_the_pods(objects, pod) -> None:
    labels = pod["metadata"]["labels"].items()
    seen = 0
    for o in objects:
        spec = o.get("spec", {})
        match o["kind"]:
            case "Service":
                wanted = spec["selector"]
            case "Deployment" | "PodDisruptionBudget" | "PodMonitor":
                wanted = spec["selector"]["matchLabels"]
            case "NetworkPolicy":
                wanted = spec["podSelector"]["matchLabels"]
            case _:
                continue
        seen += 1
        assert wanted, o["kind"]
        assert wanted.items() <= labels, o["kind"]
    for spread in pod["spec"]["topologySpreadConstraints"]:
        assert spread["labelSelector"]["matchLabels"].items() <= labels
    assert seen >= 2


def test_ports_are_those_that_hamlet_listens_on(objects, pod, config) -> None:
    (container,) = pod["spec"]["containers"]
    named = {port["name"]: port["containerPort"] for port in container["ports"]}
    listens = {"http": config["server"]["port"], "admin": config["telemetry"]["admin_port"]}
    assert named == listens
    assert config["server"]["host"] == config["telemetry"]["admin_host"] == "0.0.0.0"
    ports = [container[k]["httpGet"]["port"] for k in container if k.endswith("Probe")]
    ports += [p["targetPort"] for o in of_kind(objects, "Service") for p in o["spec"]["ports"]]
    for monitor in of_kind(objects, "PodMonitor"):
        ports += [p["port"] for p in monitor["spec"]["podMetricsEndpoints"]]
    for policy in of_kind(objects, "NetworkPolicy"):
        ports += [p["port"] for rule in policy["spec"]["ingress"] for p in rule["ports"]]
    assert set(ports) <= named.keys()


def test_admin_port_is_not_exposed(objects) -> None:
    for service in of_kind(objects, "Service"):
        assert all(port["targetPort"] != "admin" for port in service["spec"]["ports"])
    for policy in of_kind(objects, "NetworkPolicy"):
        for rule in policy["spec"]["ingress"]:
            assert rule["from"], "an empty list of peers is everybody"


def test_every_volume_is_mounted_and_defined(objects, pod) -> None:
    (container,) = pod["spec"]["containers"]
    volumes = {volume["name"]: volume for volume in pod["spec"]["volumes"]}
    mounts = {mount["name"]: mount for mount in container["volumeMounts"]}
    assert volumes.keys() == mounts.keys()
    assert {name for name, mount in mounts.items() if not mount.get("readOnly")} == {"tmp"}
    made = {o["metadata"]["name"] for o in of_kind(objects, "ConfigMap")}
    for volume in volumes.values():
        if "configMap" in volume:
            assert volume["configMap"]["name"] in made
        # The kubelet never updates a mount with subPath.
        assert "subPath" not in mounts[volume["name"]]


def test_migration_state_change_does_not_restart_pods(objects, pod) -> None:
    assert [k for k in pod["metadata"]["annotations"] if k.startswith("checksum/")] == [
        "checksum/config"
    ]
    for o in of_kind(objects, "ConfigMap"):
        assert not {"hamlet.yaml", "state.json"} <= o["data"].keys()


def test_no_secret_is_in_a_config_map_or_the_environment(objects, pod, config) -> None:
    for o in of_kind(objects, "ConfigMap"):
        assert "sk-" not in str(o["data"])
    assert "env" not in pod["spec"]["containers"][0]
    for row in config["keys"]:
        assert row["secret"].startswith("file:/etc/hamlet/secrets/")
