"""The provisioning points at files that are there, and at one another."""

import yaml

from support.paths import ROOT

COMPOSE = ROOT / "deploy/compose"


def test_mounted_files_exist() -> None:
    whole = yaml.safe_load((COMPOSE / "compose.yaml").read_text())
    named = set(whole["volumes"])
    for service in whole["services"].values():
        for volume in service.get("volumes", ()):
            source = volume.split(":")[0]
            assert source in named or source == "/" or (COMPOSE / source).exists(), source


def test_prometheus_alertmanager_and_grafana_find_one_another() -> None:
    services = yaml.safe_load((COMPOSE / "compose.yaml").read_text())["services"]
    prometheus = yaml.safe_load((COMPOSE / "../prometheus/prometheus.yml").read_text())
    targets = [job["static_configs"][0]["targets"][0] for job in prometheus["scrape_configs"]]
    targets += prometheus["alerting"]["alertmanagers"][0]["static_configs"][0]["targets"]
    assert {target.split(":")[0] for target in targets} - {"hamlet"} <= set(services)
    folder = COMPOSE / "grafana/provisioning"
    source = yaml.safe_load((folder / "datasources/prometheus.yml").read_text())["datasources"][0]
    assert source["url"] == "http://prometheus:9090"
    boards = yaml.safe_load((folder / "dashboards/hamlet.yml").read_text())["providers"][0]
    path = boards["options"]["path"]
    assert any(v.split(":")[1] == path for v in services["grafana"]["volumes"])
