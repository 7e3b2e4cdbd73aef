"""The dashboards as files: as generated, well formed, and asking only for what exists."""

import json
import re
from pathlib import Path

import pytest

from hamlet.dashboards.build import DASHBOARDS, generated_files
from hamlet.telemetry.catalogue import CATALOGUE
from support.paths import ROOT


def test_what_is_generated_is_what_is_committed() -> None:
    for name, text in generated_files().items():
        assert (ROOT / name).read_text() == text, f"{name}: run python -m hamlet.dashboards.build"
    made = {Path(name).name for name in generated_files() if name.startswith("dashboards/")}
    assert {path.name for path in (ROOT / "dashboards").glob("*.json")} == made


@pytest.mark.parametrize("dashboard", DASHBOARDS, ids=lambda d: d.uid)
def test_dashboard_follows_conventions(dashboard) -> None:
    board = dashboard.to_json()
    declared = {v["name"] for v in board["templating"]["list"]}
    taken: set[tuple[int, int]] = set()
    assert re.fullmatch(r"hamlet-[a-z-]+", board["uid"])
    assert len({p["id"] for p in board["panels"]}) == len(board["panels"])
    for panel in board["panels"]:
        grid = panel["gridPos"]
        cells = {
            (x, y)
            for x in range(grid["x"], grid["x"] + grid["w"])
            for y in range(grid["y"], grid["y"] + grid["h"])
        }
        assert not cells & taken, panel["title"]
        assert grid["x"] + grid["w"] <= 24
        taken |= cells
        if panel["type"] == "row":
            continue
        assert panel["title"]
        assert panel["description"]
        assert panel["fieldConfig"]["defaults"]["unit"]
        for target in panel["targets"]:
            expr = target["expr"]
            used = set(re.findall(r"\$(\w+)", expr)) - {"__rate_interval"}
            assert used <= declared, expr
            for window in re.findall(r"\[(.*?)\]", expr):
                assert window in ("$__rate_interval", "1h", "1d"), expr
            for name in re.findall(r"\b((?:hamlet|gen_ai)_\w+)", expr):
                base = re.sub(r"_(bucket|sum|count)$", "", name)
                assert name in CATALOGUE or base in CATALOGUE, name
    titles = [panel["title"] for panel in board["panels"]]
    assert len(set(titles)) == len(titles)
    json.dumps(board)
