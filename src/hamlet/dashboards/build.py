"""Writes what is generated; CI fails if anything differs: `python -m hamlet.dashboards.build`."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import yaml

from hamlet.dashboards.alerts import alert_groups
from hamlet.dashboards.cost import COST
from hamlet.dashboards.infra import INFRA
from hamlet.dashboards.model_calls import MODEL_CALLS, OVERVIEW
from hamlet.dashboards.product import CUTOVER, SCREEN
from hamlet.dashboards.routing import FLEET
from hamlet.dashboards.slo import recording_rules
from hamlet.telemetry.reference import render_reference

DASHBOARDS = (OVERVIEW, MODEL_CALLS, FLEET, INFRA, SCREEN, CUTOVER, COST)
_GENERATED_HEADER = (
    "# Made by `python -m hamlet.dashboards.build`; change src/hamlet/dashboards instead.\n"
)


def prometheus_rules() -> dict[str, Any]:
    """Recording and alerting rules as one document."""
    return {"groups": [*recording_rules(), *alert_groups()]}


def generated_files() -> dict[str, str]:
    """Everything that is generated, by its path in the repository."""
    made = {
        f"dashboards/{d.uid}.json": json.dumps(d.to_json(), indent=2) + "\n" for d in DASHBOARDS
    }
    made["deploy/prometheus/rules.yml"] = _GENERATED_HEADER + yaml.safe_dump(
        prometheus_rules(), sort_keys=False, width=120
    )
    made["docs/metrics.md"] = render_reference()
    return made


def main(folder: Path = Path()) -> None:
    """Write them all."""
    for name, text in generated_files().items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, "utf-8")


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))
