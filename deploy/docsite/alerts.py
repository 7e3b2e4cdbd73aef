"""The reference of alerts and recording rules, from the code that writes the rules for Prometheus."""

from __future__ import annotations

import re

from deploy.docsite.schemas import markdown_table
from hamlet.dashboards.build import prometheus_rules

_HEAD = """\
# Alert reference

Generated from `src/hamlet/dashboards` by `python -m deploy.docsite`. The rules are in `deploy/prometheus/rules.yml`; the [runbook](../runbook.md) says what to do about
each alert. A *page* needs somebody at once, a *ticket* within a working day.
"""


def render_page() -> str:
    """The text of docs/reference/alerts.md."""
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
    """The text with Prometheus' templates replaced by placeholders."""
    return re.sub(r"{{ \$(value|labels\.(\w+)).*?}}", lambda m: f"*{m[2] or 'N'}*", text)


def _code_cell(expr: object) -> str:
    return f"`{expr!s}`".replace("|", "\\|")
