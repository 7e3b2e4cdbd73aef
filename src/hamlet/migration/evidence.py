"""Collects evidence from the replicas' admin API and, if configured, from Prometheus."""

from __future__ import annotations

import json
import time
import urllib.error
import urllib.parse
import urllib.request
from collections import Counter
from collections.abc import Mapping
from typing import Any

from hamlet.config.cutover import CutoverConfig
from hamlet.migration.counters import FeatureCounters
from hamlet.migration.gate import Evidence, ReplicaStatus
from hamlet.migration.rollout_document import FeatureState
from hamlet.reporting.chart import Points

_TIMEOUT_S = 3.0
_MAX_ROWS = 50


class EvidenceCollector:
    """Queries the replicas and the Prometheus of a configuration. Blocking: for the CLI."""

    def __init__(self, config: CutoverConfig, admin_key: str | None = None) -> None:
        self._config = config
        self._headers = {"x-api-key": admin_key} if admin_key else {}

    def collect_evidence(self, feature: str, state: FeatureState) -> Evidence:
        """The evidence about a feature since its last transition."""
        statuses = {url: self._fetch_status(url) for url in self._config.replicas}
        evidence = Evidence(
            "replicas", replicas=[_parse_replica(url, row) for url, row in statuses.items()]
        )
        for row in statuses.values():
            if row is not None and feature in row["features"]:
                status = row["features"][feature]
                counters = FeatureCounters.from_dict(status["tally"])
                if counters.epoch == state.changed:
                    evidence.counters = evidence.counters.merge(counters)
                evidence.p95 = {"first": status["p95_first_s"], "total": status["p95_total_s"]}
        if self._config.prometheus is not None:
            self._apply_prometheus(self._config.prometheus, feature, state, evidence)
        return evidence

    def fetch_details(
        self, feature: str, since_at: float
    ) -> tuple[list[dict[str, Any]], dict[str, dict[str, Points]]]:
        """Recent mismatches, and time series of both arms if Prometheus is configured."""
        statuses = [
            row for row in map(self._fetch_status, self._config.replicas) if row is not None
        ]
        rows = [
            m for row in statuses for m in row["features"].get(feature, {}).get("mismatches", ())
        ]
        rows = sorted((row for row in rows if row["at"] >= since_at), key=lambda row: -row["at"])
        series = {}
        if self._config.prometheus is not None:
            series = _query_series(self._config.prometheus, feature, since_at)
        return rows[:_MAX_ROWS], series

    def _fetch_status(self, url: str) -> dict[str, Any] | None:
        """A replica's status, with the local time of the request as `asked`; None on failure."""
        before = time.time()
        status = _get_json(f"{url}/v1/admin/cutover", self._headers)
        if status is not None:
            status["asked"] = (before + time.time()) / 2
        return status

    def _apply_prometheus(
        self, base: str, feature: str, state: FeatureState, evidence: Evidence
    ) -> None:
        seconds = max(2, int(time.time() - state.since))
        requests = _increase_query(
            "hamlet_cutover_requests_total", feature, "arm, outcome", seconds
        )
        verdicts = _increase_query(
            "hamlet_cutover_comparisons_total", feature, "kind, verdict", seconds
        )
        rows = [
            _query_instant(base, q) for q in (requests, verdicts, 'ALERTS{alertstate="firing"}')
        ]
        if any(row is None for row in rows):
            evidence.problems.append("inconclusive: Prometheus does not answer")
            return
        counted, compared, alerts = (row or [] for row in rows)
        evidence.source = "prometheus"
        evidence.counters = FeatureCounters(state.changed)
        for labels, value in counted:
            part = evidence.counters.new if labels["arm"] == "new" else evidence.counters.legacy
            part[labels["outcome"]] += round(value)
        for labels, value in compared:
            getattr(evidence.counters, labels["kind"])[labels["verdict"]] += round(value)
        for part in (evidence.counters.new, evidence.counters.legacy, evidence.counters.candidate):
            _drop_zeros(part)
        evidence.alerts = sorted({labels["alertname"] for labels, _ in alerts})


def _query_series(base: str, feature: str, since_at: float) -> dict[str, dict[str, Points]]:
    end = time.time()
    step = max(15.0, (end - since_at) / 200)
    window, of = f"[{int(4 * step)}s]", f'{{feature="{feature}"}}'
    bad = f'{{feature="{feature}",outcome=~"failed|rescued"}}'
    queries = {
        "Share of requests that went wrong": (
            f"sum by (arm) (rate(hamlet_cutover_requests_total{bad}{window}))"
            f" / sum by (arm) (rate(hamlet_cutover_requests_total{of}{window}))"
        ),
        "Seconds to the last byte, p95": (
            "histogram_quantile(0.95, sum by (arm, le)"
            f" (rate(hamlet_cutover_duration_seconds_bucket{of}{window})))"
        ),
        "Requests per second": f"sum by (arm) (rate(hamlet_cutover_requests_total{of}{window}))",
    }
    span = {"start": since_at, "end": end, "step": step}
    return {name: _query_range(base, query, span) for name, query in queries.items()}


def _query_range(base: str, query: str, span: Mapping[str, float]) -> dict[str, Points]:
    parameters = urllib.parse.urlencode({"query": query, **span})
    payload = _get_json(f"{base}/api/v1/query_range?{parameters}", {})
    rows = payload["data"]["result"] if payload and payload.get("status") == "success" else []
    return {
        row["metric"].get("arm", ""): [
            (float(t), float(v)) for t, v in row["values"] if v not in ("NaN", "+Inf")
        ]
        for row in rows
    }


def _parse_replica(url: str, status: Mapping[str, Any] | None) -> ReplicaStatus:
    if status is None:
        return ReplicaStatus(url, False)
    return ReplicaStatus(
        url, True, status["epoch"], status["readable"], status["clock"] - status["asked"]
    )


def _increase_query(metric: str, feature: str, by: str, seconds: int) -> str:
    return f'sum by ({by}) (increase({metric}{{feature="{feature}"}}[{seconds}s]))'


def _query_instant(base: str, query: str) -> list[tuple[dict[str, str], float]] | None:
    """https://prometheus.io/docs/prometheus/latest/querying/api/#instant-queries"""
    payload = _get_json(f"{base}/api/v1/query?query={urllib.parse.quote(query)}", {})
    if payload is None or payload.get("status") != "success":
        return None
    rows = payload["data"]["result"]
    return [(row["metric"], float(row["value"][1])) for row in rows]


def _get_json(url: str, headers: Mapping[str, str]) -> dict[str, Any] | None:
    try:
        # The URL comes from the operator's own configuration.
        request = urllib.request.Request(url, headers=dict(headers))  # noqa: S310
        with urllib.request.urlopen(request, timeout=_TIMEOUT_S) as response:  # noqa: S310
            payload = json.load(response)
    except (OSError, ValueError, urllib.error.URLError):
        return None
    return payload if isinstance(payload, dict) else None


def _drop_zeros(counts: Counter[str]) -> None:
    for name in [name for name, count in counts.items() if count <= 0]:
        del counts[name]
