"""The rules: promtool has nothing to say, and every alert fires, does not just below, and ends."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

from dashboards.alert_cases import CALLS, CASES, promtool_series, request_series
from hamlet.dashboards.alerts import ALERTS
from support.paths import ROOT

RULES = ROOT / "deploy/prometheus/rules.yml"
pytestmark = pytest.mark.external("promtool")


def assert_promtool_passes(*args: str) -> None:
    found = subprocess.run(["promtool", *args], capture_output=True, text=True)
    assert found.returncode == 0, found.stdout + found.stderr


def test_rules_pass_promtool_and_amtool() -> None:
    assert_promtool_passes("check", "rules", "--lint=all", "--lint-fatal", str(RULES))
    assert_promtool_passes("check", "config", str(ROOT / "deploy/prometheus/prometheus.yml"))
    config = str(ROOT / "deploy/alertmanager/alertmanager.yml")
    if shutil.which("amtool"):
        found = subprocess.run(["amtool", "check-config", config], capture_output=True, text=True)
        assert found.returncode == 0, found.stderr


def test_every_alert_has_a_case_and_an_entry_in_the_runbook() -> None:
    names = [alert.name for alert in ALERTS]
    assert set(CASES) == set(names)
    assert len(set(names)) == len(names)
    runbook = (ROOT / "docs/runbook.md").read_text()
    entries = dict(re.findall(r"^### (Hamlet\w+)\n\n(.*?)(?=\n#|\Z)", runbook, re.M | re.S))
    assert set(entries) == set(names)
    for name, text in entries.items():
        # The second window's entry points to the first's.
        assert "**Means**" in text, name
        assert re.search(r"\*\*See\*\*", text), name
        assert re.search(r"\*\*Do\*\*|\*\*do\*\*", text), name
    for alert in ALERTS:
        rule = alert.rule()
        page, _, anchor = rule["annotations"]["runbook_url"].partition("#")
        assert (ROOT / page).is_file()
        assert anchor in {name.lower() for name in entries}
        uid = rule["annotations"]["dashboard_url"].removeprefix("/d/")
        assert (ROOT / f"dashboards/{uid}.json").is_file()


def firing_test(name: str, minute: float, count: int) -> dict[str, object]:
    expr = f'count(ALERTS{{alertname="{name}", alertstate="firing"}}) > bool 0 or vector(0)'
    samples = [{"labels": "{}", "value": count}]
    return {"expr": expr, "eval_time": f"{minute:g}m", "exp_samples": samples}


def rules_for_alert(name: str) -> dict[str, list[dict[str, object]]]:
    """The committed rules as far as an alert needs them: thirty days of all others take minutes."""
    groups = yaml.safe_load(RULES.read_text())["groups"]
    expr = next(r["expr"] for g in groups for r in g["rules"] if r.get("alert") == name)
    kept = []
    for group in groups:
        rules = [
            rule
            for rule in group["rules"]
            if rule.get("alert") == name
            or (f'{rule.get("record")}{{slo="{rule["labels"].get("slo")}"}}' in expr)
        ]
        if rules:
            kept.append({**group, "rules": rules})
    return {"groups": kept}


def assert_rules_pass(
    name: str, tmp_path: Path, tests: list[dict[str, object]], every: str
) -> None:
    rules_file, kept = tmp_path / "rules.yml", rules_for_alert(name)
    rules_file.write_text(yaml.safe_dump(kept))
    whole = {
        "rule_files": [str(rules_file)],
        "evaluation_interval": every,
        # In an order of its own choice an alert is at times a step behind what is recorded for it.
        "group_eval_order": [group["name"] for group in kept["groups"]],
        "tests": tests,
    }
    file = tmp_path / "test.yml"
    file.write_text(yaml.safe_dump(whole))
    assert_promtool_passes("test", "rules", str(file))


@pytest.mark.parametrize("name", CASES)
def test_an_alert_fires_does_not_fire_just_below_and_ends(name: str, tmp_path: Path) -> None:
    case = CASES[name]
    end, well = case.firing_minutes, case.firing_minutes + case.recovery_minutes
    if name == "HamletSpendSpike":
        end, well = 7 * 1440 + 120, 7 * 1440 + 240

    def test(values, at_end: int) -> dict[str, object]:
        cases = [firing_test(name, end, at_end), firing_test(name, well, 0)]
        return {
            "interval": f"{case.step_minutes}m",
            "input_series": promtool_series(case, values, name),
            "promql_expr_test": cases,
        }

    assert_rules_pass(
        name,
        tmp_path,
        [test(case.fires, 1), test(case.below_threshold, 0)],
        f"{case.step_minutes}m",
    )


def test_alerts_stay_silent_at_low_traffic(tmp_path: Path) -> None:
    """Two of five calls an hour fail: 40 %, and nobody is woken."""
    night = {CALLS % "failed": (0.03, 0), CALLS % "ok": (0.05, 0.08)}
    case = CASES["HamletAvailabilityBurnFast"]
    name = "HamletAvailabilityBurnFast"
    test = {
        "interval": "1m",
        "input_series": promtool_series(case, night, name),
        "promql_expr_test": [firing_test(name, 70, 0)],
    }
    assert_rules_pass(name, tmp_path, [test], "1m")
    busy = {**test, "input_series": promtool_series(case, request_series(400), name)}
    assert_rules_pass(
        name, tmp_path, [{**busy, "promql_expr_test": [firing_test(name, 70, 1)]}], "1m"
    )
