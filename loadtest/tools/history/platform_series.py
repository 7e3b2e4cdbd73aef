"""The series of the main screen, the process, the migration from hamlet1, and the machine."""

from collections.abc import Callable, Iterator

from loadtest.tools.history.model import (
    COMPARISON_VERDICT_RATES,
    SeriesSpec,
    calls_per_s,
    histogram_series,
    is_region_down,
    noise,
)


def screen_series() -> Iterator[SeriesSpec]:
    tiers_by_part = {
        "links": (
            ("web", 0.4),
            ("cache", 0.35),
            ("embedded", 0.2),
            ("starter", 0.04),
            ("stale", 0.01),
        ),
        "chips": (("llm", 0.45), ("cache", 0.3), ("embedded", 0.2), ("starter", 0.05)),
    }
    for part, tiers in tiers_by_part.items():
        for tier, rate in tiers:
            yield "hamlet_suggest_answers_total", {
                "surface": "home", "part": part, "tier": tier
            }, lambda h, r=rate: r * calls_per_s(h) * 0.6, "counter"  # fmt: skip
            for type_, per_answer in (
                ("impression", 4.0),
                ("click", 0.3),
                ("submit", 0.05),
                ("hide", 0.02),
            ):
                yield "hamlet_suggest_events_total", {
                    "part": part, "tier": tier, "type": type_
                }, (lambda h, r=rate, m=per_answer, t=tier: r * m * calls_per_s(h) * 0.6
                    * (1.4 if t in ("llm", "web") else 1)), "counter"  # fmt: skip
        for result, rate in (("hit", 0.33), ("stale", 0.05), ("miss", 0.62)):
            yield (
                "hamlet_suggest_cache_total",
                {"part": part, "result": result},
                (lambda h, r=rate: r * calls_per_s(h) * 0.6),
                "counter",
            )
    for origin, reason in (
        ("web", "deadline"),
        ("llm", "deadline"),
        ("llm", "rejected"),
        ("web", "failed"),
    ):
        yield "hamlet_suggest_degradations_total", {
            "part": "links" if origin == "web" else "chips", "origin": origin, "reason": reason
        }, lambda h: 0.02 * calls_per_s(h) * (4 if is_region_down(h) else 1), "counter"  # fmt: skip
    for surface, busy in (("home", 0.4), ("search", 0.15), ("chat", 0.05)):
        yield from histogram_series(
            "hamlet_suggest_duration_seconds",
            {"surface": surface},
            0.25,
            lambda h, b=busy: b * calls_per_s(h),
        )
        yield (
            "hamlet_suggest_late_total",
            {"surface": surface},
            (lambda h, b=busy: 0.004 * b * calls_per_s(h)),
            "counter",
        )
    for source in ("brave", "naver"):

        def is_circuit_open(hour: float, source: str = source) -> bool:
            return source == "brave" and 2 < hour < 2.25

        yield (
            "hamlet_web_source_open",
            {"source": source},
            lambda h, s=is_circuit_open: float(s(h)),
            "gauge",
        )
        for outcome, share in (("ok", 0.985), ("failed", 0.015)):
            yield (
                "hamlet_web_searches_total",
                {"source": source, "outcome": outcome},
                (lambda h, s=is_circuit_open, r=share: 0.0 if s(h) else r * calls_per_s(h) * 0.25),
                "counter",
            )


def process_series() -> Iterator[SeriesSpec]:
    for name, value in (
        ("hamlet_calls_in_flight", lambda h: round(calls_per_s(h) * 3)),
        ("hamlet_calls_limit", lambda h: 1000),
        ("hamlet_queue_depth", lambda h: 0),
        ("hamlet_distress_level", lambda h: 0),
        ("hamlet_ready", lambda h: 1),
        ("hamlet_draining", lambda h: 0),
        ("hamlet_config_last_reload_ok", lambda h: 1),
        ("hamlet_series", lambda h: 4100),
        ("hamlet_render_seconds", lambda h: 0.14 + 0.02 * noise(h, "r")),
        ("process_resident_memory_bytes", lambda h: 2.1e8 + 1.5e6 * h + 4e6 * noise(h, "m")),
        ("process_open_fds", lambda h: 60 + calls_per_s(h) * 6),
        ("process_max_fds", lambda h: 4096),
    ):
        yield name, {}, value, "gauge"
    yield "hamlet_build_info", {"version": "0.1.0"}, lambda h: 1, "gauge"
    yield "hamlet_telemetry_errors_total", {}, lambda h: 0, "counter"
    yield "hamlet_config_reloads_total", {"outcome": "ok"}, lambda h: 0, "counter"
    yield "process_cpu_seconds_total", {}, lambda h: 0.03 * calls_per_s(h), "counter"
    for generation in ("0", "1", "2"):
        yield (
            "python_gc_collections_total",
            {"generation": generation},
            (lambda h, g=generation: calls_per_s(h) / 10 ** (int(g) + 1)),
            "counter",
        )
    yield from histogram_series("hamlet_event_loop_lag_seconds", {}, 0.002, lambda h: 30)
    yield from histogram_series("hamlet_queue_wait_seconds", {}, 0.0005, calls_per_s)


def migration_series() -> Iterator[SeriesSpec]:
    for feature, start_hour in (("chat", 1.0), ("related_links", -2.0)):

        def stage_index(hour: float, start_hour: float = start_hour) -> int:
            return min(4, max(1, 1 + int((hour - start_hour) / 1.2)))

        labels = {"feature": feature}
        for i, stage in enumerate(("legacy", "proxy", "shadow", "canary", "new", "retired")):
            yield (
                "hamlet_cutover_state",
                labels | {"state": stage},
                (lambda h, i=i, at=stage_index: float(at(h) == i)),
                "gauge",
            )
        yield (
            "hamlet_cutover_weight_ratio",
            labels,
            (lambda h, at=stage_index: {3: 0.2, 4: 1.0}.get(at(h), 0.0)),
            "gauge",
        )
        for arm in ("legacy", "new"):

            def arm_rate(
                hour: float, arm: str = arm, stage_index: Callable[[float], int] = stage_index
            ) -> float:
                new = {3: 0.2, 4: 1.0}.get(stage_index(hour), 0.0)
                return calls_per_s(hour) * (new if arm == "new" else 1 - new)

            for outcome, rate in (
                ("ok", 0.99),
                ("failed", 0.002),
                ("rescued", 0.002 * (arm == "new")),
            ):
                yield (
                    "hamlet_cutover_requests_total",
                    labels | {"arm": arm, "outcome": outcome},
                    (lambda h, r=rate, p=arm_rate: r * p(h)),
                    "counter",
                )
            for name, typical in (("duration", 2.4), ("first_byte", 0.6)):
                latency_factor = 0.8 if arm == "new" else 1.0
                yield from histogram_series(
                    f"hamlet_cutover_{name}_seconds",
                    labels | {"arm": arm},
                    typical * latency_factor,
                    arm_rate,
                )
        for reason in ("status", "timeout", "exception"):
            yield (
                "hamlet_cutover_rescues_total",
                labels | {"reason": reason},
                (lambda h: 0.002 * calls_per_s(h)),
                "counter",
            )
        for kind in ("candidate", "noise"):
            for result, rate in COMPARISON_VERDICT_RATES:
                yield (
                    "hamlet_cutover_comparisons_total",
                    labels | {"kind": kind, "verdict": result},
                    (lambda h, r=rate: r * calls_per_s(h) * 0.2),
                    "counter",
                )
        for reason in ("too_large", "busy", "budget"):
            yield (
                "hamlet_cutover_shadow_dropped_total",
                labels | {"reason": reason},
                (lambda h: 0.001 * calls_per_s(h)),
                "counter",
            )
        yield (
            "hamlet_cutover_transitions_total",
            labels | {"to": "canary", "cause": "operator"},
            (lambda h: 2.0 / 21600),
            "counter",
        )


def node_series() -> Iterator[SeriesSpec]:
    base = {"job": "node", "instance": "node-0:9100"}
    for mode, part in (("idle", 0.7), ("user", 0.25), ("system", 0.05)):
        yield (
            "node_cpu_seconds_total",
            base | {"cpu": "0", "mode": mode},
            (lambda h, p=part: p - (0.02 * calls_per_s(h) - 0.15) * (1 if p > 0.5 else -0.5)),
            "counter",
        )
    for name, value in (
        ("node_memory_MemAvailable_bytes", 5.1e9), ("node_memory_MemTotal_bytes", 8.3e9),
    ):  # fmt: skip
        yield name, base, lambda h, v=value: v, "gauge"
    for name, size in (("node_filesystem_avail_bytes", 3e10), ("node_filesystem_size_bytes", 8e10)):
        yield name, base | {"mountpoint": "/"}, lambda h, s=size: s, "gauge"
    for direction in ("receive", "transmit"):
        yield (
            f"node_network_{direction}_bytes_total",
            base | {"device": "eth0"},
            (lambda h: 40_000 * calls_per_s(h)),
            "counter",
        )
    edge = {"job": "envoy", "instance": "edge:9901"}
    for cluster in ("hamlet1", "hamlet2"):
        labels = edge | {"envoy_cluster_name": cluster}
        yield "envoy_cluster_upstream_rq_total", labels, calls_per_s, "counter"
        yield "envoy_cluster_upstream_rq_retry", labels, lambda h: 0.01 * calls_per_s(h), "counter"
        yield (
            "envoy_cluster_upstream_rq_xx",
            labels | {"envoy_response_code_class": "5"},
            (lambda h: 0.003 * calls_per_s(h)),
            "counter",
        )
        yield "envoy_cluster_membership_healthy", labels, lambda h: 3, "gauge"
