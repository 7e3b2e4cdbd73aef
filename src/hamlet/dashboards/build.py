"""Writes what is generated; CI fails if anything differs: `python -m hamlet.dashboards.build`."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import yaml

from hamlet.dashboards.alerts import groups
from hamlet.dashboards.cost import COST
from hamlet.dashboards.fleet import FLEET
from hamlet.dashboards.infra import INFRA
from hamlet.dashboards.model_calls import MODEL_CALLS, OVERVIEW
from hamlet.dashboards.objectives import recordings
from hamlet.dashboards.product import CUTOVER, SCREEN
from hamlet.telemetry.reference import document

DASHBOARDS = (OVERVIEW, MODEL_CALLS, FLEET, INFRA, SCREEN, CUTOVER, COST)
_MADE = "# Made by `python -m hamlet.dashboards.build`; change src/hamlet/dashboards instead.\n"


def rules() -> dict[str, Any]:
    """Recording and alerting rules as one document."""
    return {"groups": [*recordings(), *groups()]}


def files() -> dict[str, str]:
    """Everything that is generated, by its path in the repository."""
    made = {f"dashboards/{d.uid}.json": json.dumps(d.json(), indent=2) + "\n" for d in DASHBOARDS}
    made["deploy/prometheus/rules.yml"] = _MADE + yaml.safe_dump(
        rules(), sort_keys=False, width=120
    )
    made["docs/metrics.md"] = document()
    return made


def main(folder: Path = Path()) -> None:
    """Write them all."""
    for name, text in files().items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, "utf-8")


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))
