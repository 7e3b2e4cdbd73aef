"""The reference of alerts and service levels, from the code that writes Prometheus' rules."""

from __future__ import annotations

import re

from deploy.docsite.schemas import markdown_table
from hamlet.dashboards.build import prometheus_rules

_HEAD = """\
# Alert reference

Made from `src/hamlet/ops`, by `python -m deploy.docsite`; a test holds it so. The rules are in `deploy/prometheus/rules.yml`, and what to do about each is in the
[runbook](../runbook.md). A *page* wants somebody now, a *ticket* within a working day.
"""


def render_page() -> str:
    """docs/reference/alerts.md"""
    lines = [_HEAD]
    recorded: list[tuple[str, ...]] = []
    for group in prometheus_rules()["groups"]:
        alerts = [rule for rule in group["rules"] if "alert" in rule]
        recorded += [
            (f"`{r['record']}`", _code_cell(r["expr"])) for r in group["rules"] if "record" in r
        ]
        if alerts:
            title = group["name"].removeprefix("hamlet-").replace("-", " ")
            lines += [f"## {title[0].upper()}{title[1:]}", ""]
        for rule in alerts:
            lines += _alert_section(rule)
    lines += ["## Recorded series", "", *markdown_table(("series", "expression"), recorded)]
    return "\n".join(lines).rstrip() + "\n"


def _alert_section(rule: dict[str, object]) -> list[str]:
    name, notes, labels = str(rule["alert"]), rule["annotations"], rule["labels"]
    assert isinstance(notes, dict)
    assert isinstance(labels, dict)
    dashboard = notes["dashboard_url"].removeprefix("/d/").partition("?")[0]
    return [
        f"### {name}",
        "",
        _strip_templates(f"{notes['summary']}. {notes['description']}"),
        "",
        f"*{labels['severity']}*, after {rule['for']} · [what to do](../runbook.md#{name.lower()}) · dashboard `{dashboard}`",
        "",
        "```promql",
        str(rule["expr"]),
        "```",
        "",
    ]


def _strip_templates(text: str) -> str:
    """Without the templates that Prometheus fills in."""
    return re.sub(r"{{ \$(value|labels\.(\w+)).*?}}", lambda m: f"*{m[2] or 'N'}*", text)


def _code_cell(expr: object) -> str:
    return f"`{expr!s}`".replace("|", "\\|")
