"""A dashboard as data, and as Grafana's JSON (schema version 39)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

PanelKind = Literal["stat", "timeseries", "bargauge", "table", "state-timeline"]
DATASOURCE_REF = {"type": "prometheus", "uid": "${datasource}"}
_GRID_COLUMNS = 24
_DEFAULT_SIZES: dict[PanelKind, tuple[int, int]] = {
    "stat": (3, 4),
    "timeseries": (8, 8),
    "bargauge": (8, 8),
    "table": (12, 9),
    "state-timeline": (12, 9),
}


@dataclass(frozen=True, slots=True)
class Query:
    """One expression. `legend` is a template over the labels of a series: "{{route}}"."""

    expr: str
    legend: str = ""


@dataclass(frozen=True, slots=True)
class Panel:
    """One panel. The value turns yellow at `warn` and red at `bad`.

    `unit` is Grafana's name of the unit; `size` is (columns of 24, rows of 30 pixels);
    `mappings` are (value, text, colour). With `bad` below `warn`, low values are bad.
    """

    kind: PanelKind
    title: str
    description: str
    unit: str
    queries: tuple[Query, ...]
    warn: float | None = None
    bad: float | None = None
    stack: bool = False
    maximum: float | None = None  # of the axis, in `unit`
    size: tuple[int, int] | None = None
    mappings: tuple[tuple[float, str, str], ...] = ()
    decimals: int | None = None


@dataclass(frozen=True, slots=True)
class PanelRow:
    """A heading and the panels below it."""

    title: str
    panels: tuple[Panel, ...]


@dataclass(frozen=True, slots=True)
class Variable:
    """A drop-down of the values of the label `name` of a metric."""

    name: str
    metric: str


@dataclass(frozen=True, slots=True)
class Dashboard:
    """A dashboard. `uid` is its permanent address."""

    uid: str
    title: str
    description: str
    variables: tuple[Variable, ...]
    rows: tuple[PanelRow, ...]

    @property
    def panels(self) -> Iterator[Panel]:
        """All panels in order."""
        for row in self.rows:
            yield from row.panels

    def to_json(self) -> dict[str, Any]:
        """The dashboard in Grafana's JSON model."""
        return {
            "uid": self.uid,
            "title": self.title,
            "description": self.description,
            "tags": ["hamlet"],
            "schemaVersion": 39,
            "version": 1,
            "editable": True,
            "graphTooltip": 1,
            "timezone": "utc",
            "refresh": "30s",
            "time": {"from": "now-1h", "to": "now"},
            "links": [_DASHBOARD_LINKS],
            "annotations": {"list": [_annotation_json(*row) for row in _ANNOTATIONS]},
            "templating": {"list": [_DATASOURCE_VARIABLE, *map(_variable_json, self.variables)]},
            "panels": list(_layout(self.rows)),
        }


def stat(title: str, description: str, unit: str, expr: str, **options: Any) -> Panel:
    """A panel with one number."""
    return Panel("stat", title, description, unit, (Query(expr),), **options)


def graph(title: str, description: str, unit: str, *queries: Query, **options: Any) -> Panel:
    """A panel with lines over time."""
    return Panel("timeseries", title, description, unit, queries, **options)


def bars(title: str, description: str, unit: str, query: Query, **options: Any) -> Panel:
    """A panel with one bar for the latest value of each series."""
    return Panel("bargauge", title, description, unit, (query,), **options)


def table(title: str, description: str, unit: str, query: Query, **options: Any) -> Panel:
    """A panel with one row for the latest value of each series."""
    return Panel("table", title, description, unit, (query,), **options)


def timeline(title: str, description: str, *queries: Query, **options: Any) -> Panel:
    """A panel with the states of each series over time."""
    return Panel("state-timeline", title, description, "none", queries, **options)


_DASHBOARD_LINKS = {
    "type": "dashboards",
    "title": "hamlet",
    "tags": ["hamlet"],
    "asDropdown": True,
    "keepTime": True,
    "includeVars": True,
}
_DATASOURCE_VARIABLE = {
    "name": "datasource",
    "type": "datasource",
    "query": "prometheus",
    "current": {},
    "hide": 0,
}
_ANNOTATIONS = (
    ("Cutover", "changes(hamlet_cutover_weight_ratio[1m]) > 0", "orange"),
    ("Reload", "increase(hamlet_config_reloads_total[1m]) > 0", "blue"),
)


def _annotation_json(name: str, expr: str, color: str) -> dict[str, Any]:
    return {
        "name": name,
        "datasource": DATASOURCE_REF,
        "enable": True,
        "expr": expr,
        "iconColor": color,
        "step": "60s",
    }


def _variable_json(variable: Variable) -> dict[str, Any]:
    return {
        "name": variable.name,
        "type": "query",
        "datasource": DATASOURCE_REF,
        "query": {"query": f"label_values({variable.metric}, {variable.name})", "refId": "A"},
        "refresh": 2,
        "includeAll": True,
        "allValue": ".*",
        "multi": True,
        "current": {"text": "All", "value": "$__all"},
        "sort": 1,
    }


def _layout(rows: Sequence[PanelRow]) -> Iterator[dict[str, Any]]:
    y, id_ = 0, 0
    for row in rows:
        id_ += 1
        yield {
            "id": id_,
            "type": "row",
            "title": row.title,
            "collapsed": False,
            "panels": [],
            "gridPos": {"x": 0, "y": y, "w": _GRID_COLUMNS, "h": 1},
        }
        y, x, tallest = y + 1, 0, 0
        for panel in row.panels:
            w, h = panel.size or _DEFAULT_SIZES[panel.kind]
            if x + w > _GRID_COLUMNS:
                y, x, tallest = y + tallest, 0, 0
            id_ += 1
            yield {"id": id_, "gridPos": {"x": x, "y": y, "w": w, "h": h}, **_panel_json(panel)}
            x, tallest = x + w, max(tallest, h)
        y += tallest


def _panel_json(panel: Panel) -> dict[str, Any]:
    instant = panel.kind in ("bargauge", "table")
    return {
        "type": panel.kind,
        "title": panel.title,
        "description": panel.description,
        "datasource": DATASOURCE_REF,
        "targets": [
            {
                "refId": chr(ord("A") + i),
                "datasource": DATASOURCE_REF,
                "expr": query.expr,
                "legendFormat": query.legend or "__auto",
                "instant": instant,
                "range": not instant,
                **({"format": "table"} if panel.kind == "table" else {}),
            }
            for i, query in enumerate(panel.queries)
        ],
        "fieldConfig": {
            "defaults": _field_defaults(panel),
            "overrides": list(_color_overrides(panel)),
        },
        "options": _panel_options(panel),
    }


def _field_defaults(panel: Panel) -> dict[str, Any]:
    steps: list[dict[str, Any]] = [
        {"color": "blue" if panel.bad is None else "green", "value": None}
    ]
    if panel.warn is not None:
        steps.append({"color": "yellow", "value": panel.warn})
    if panel.bad is not None:
        steps.append({"color": "red", "value": panel.bad})
    # Low values are bad: the colours are in reverse order.
    if panel.bad is not None and panel.warn is not None and panel.bad < panel.warn:
        steps = [
            {"color": "red", "value": None},
            {"color": "yellow", "value": panel.bad},
            {"color": "green", "value": panel.warn},
        ]
    field: dict[str, Any] = {
        "unit": panel.unit,
        "min": 0,
        "color": {"mode": "palette-classic" if panel.kind == "timeseries" else "thresholds"},
        "thresholds": {"mode": "absolute", "steps": steps},
        "mappings": [
            {"type": "value", "options": {f"{value:g}": {"text": text, "color": color, "index": i}}}
            for i, (value, text, color) in enumerate(panel.mappings)
        ]
        + [_NO_DATA_MAPPING],
    }
    if panel.maximum is not None:
        field["max"] = panel.maximum
    if panel.decimals is not None:
        field["decimals"] = panel.decimals
    if panel.kind == "timeseries":
        mode = "normal" if panel.stack else "none"
        field["custom"] = {
            "fillOpacity": 30 if panel.stack else 5,
            "stacking": {"mode": mode, "group": "A"},
            "showPoints": "never",
        }
    return field


def _color_overrides(panel: Panel) -> Iterator[dict[str, Any]]:
    """Outcomes have the same colour in every panel."""
    if panel.kind != "timeseries":
        return
    for name, color in (("ok", "green"), ("failed", "red"), ("overload", "orange")):
        fixed = {"id": "color", "value": {"mode": "fixed", "fixedColor": color}}
        yield {"matcher": {"id": "byName", "options": name}, "properties": [fixed]}


# No traffic is not an error: "-" instead of Grafana's "No data".
_NO_DATA_MAPPING = {
    "type": "special",
    "options": {"match": "null+nan", "result": {"text": "-", "index": 9}},
}


def _panel_options(panel: Panel) -> dict[str, Any]:
    reduce = {"calcs": ["lastNotNull"], "fields": "", "values": False}
    match panel.kind:
        case "stat":
            return {"reduceOptions": reduce, "graphMode": "area", "colorMode": "value"}
        case "bargauge":
            return {
                "reduceOptions": reduce,
                "orientation": "horizontal",
                "displayMode": "gradient",
                "showUnfilled": True,
            }
        case "timeseries":
            return {
                "legend": {"displayMode": "list", "placement": "bottom", "showLegend": True},
                "tooltip": {"mode": "multi", "sort": "desc"},
            }
        case "state-timeline":
            return {"showValue": "never", "mergeValues": True, "rowHeight": 0.9}
        case "table":
            return {
                "showHeader": True,
                "cellHeight": "sm",
                "sortBy": [{"displayName": "Value", "desc": True}],
            }
