"""The generated pages are up to date."""

import pytest

from deploy.docsite.__main__ import generated_pages
from hamlet.config import GatewayConfig
from hamlet.dashboards.build import prometheus_rules
from support.paths import ROOT

FILES = generated_pages()


@pytest.mark.parametrize("name", sorted(FILES))
def test_committed_page_is_current(name: str) -> None:
    """If not: `python -m deploy.docsite` writes it."""
    assert (ROOT / name).read_text("utf-8") == FILES[name]


def test_every_setting_and_every_alert_is_in_its_reference() -> None:
    settings = FILES["docs/reference/configuration.md"]
    for part in GatewayConfig.model_json_schema()["$defs"].values():
        for key in part["properties"]:
            assert f"| `{key}` |" in settings
    alerts = FILES["docs/reference/alerts.md"]
    runbook = (ROOT / "docs/runbook.md").read_text("utf-8")
    for group in prometheus_rules()["groups"]:
        for rule in group["rules"]:
            if "alert" in rule:
                assert f"### {rule['alert']}\n" in alerts
                assert f"### {rule['alert']}\n" in runbook
