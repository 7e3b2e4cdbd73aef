"""Six hours that never were: a fleet of 27 reserved deployments, a day's rise, and an outage.

Written as OpenMetrics, for `promtool tsdb create-blocks-from openmetrics`; the dashboards' pictures
are made of it.
"""

import math
import random
from collections.abc import Callable, Iterator

from hamlet.telemetry import labels as L
from hamlet.telemetry.catalogue import CATALOGUE, Metric

STEP_S = 60
HOURS = 6
PODS = ("hamlet-0:9090", "hamlet-1:9090", "hamlet-2:9090")
REGIONS = ("koreacentral", "japaneast", "swedencentral")
RESERVED = tuple(f"azure-{r}/gpt-{n}" for r in REGIONS for n in range(1, 10))
PAID, OTHER = "azure-paid/gpt", "anthropic/claude"
ALL = (*RESERVED, PAID, OTHER)
ROUTES = {"chat": 0.7, "chips": 0.25, "embed": 0.05}
_OUTAGE = (3.0, 3.5)
_VERDICTS = (
    ("equal", 0.11),
    ("tolerated", 0.19),
    ("content_drift", 0.01),
    ("candidate_failed", 0.002),
)
Value = Callable[[float], float]
Line = tuple[str, dict[str, str], Value, str]


def load(hour: float) -> float:
    """Calls a second: a morning's rise with a ripple."""
    return 8 + 5 * math.sin(hour / 2.2) + 0.8 * math.sin(hour * 9)


def out(hour: float, deployment: str = "azure-koreacentral/gpt-1") -> bool:
    """Whether a region is down."""
    return _OUTAGE[0] <= hour < _OUTAGE[1] and "koreacentral" in deployment


def share(hour: float, deployment: str) -> float:
    """The part of the calls that goes to a deployment."""
    spilled = 0.12 if out(hour) else max(0.01, (load(hour) - 11) * 0.03)
    if deployment in (PAID, OTHER):
        return spilled * (0.8 if deployment == PAID else 0.2)
    alive = [d for d in RESERVED if not out(hour, d)]
    weight = 1 + (int(deployment[-1]) % 3) * 0.4
    total = sum(1 + (int(d[-1]) % 3) * 0.4 for d in alive)
    return 0.0 if deployment not in alive else (1 - spilled) * weight / total


def failing(hour: float, deployment: str) -> float:
    """Failed attempts a second."""
    probes = 0.05 if out(hour, deployment) else 0.0
    if deployment in (PAID, OTHER):
        return 0.01 * load(hour) * share(hour, deployment)
    return probes + (0.004 if deployment.endswith("7") else 0.0005) * load(hour)


def rows() -> Iterator[Line]:
    """Every series but the recorded ones: name, labels, value by hour, kind."""
    for pod in PODS:
        base = {"job": "hamlet", "instance": pod}
        for name, labels, value, kind in _of_a_pod():
            yield name, base | labels, _third(value, kind, name), kind
    yield from _node()


def _third(value: Value, kind: str, name: str) -> Value:
    if kind == "counter" or name in ("hamlet_calls_in_flight", "hamlet_deployment_in_flight"):
        return lambda h: value(h) / len(PODS)
    return value


def _of_a_pod() -> Iterator[Line]:
    yield from _calls()
    yield from _attempts()
    yield from _deployments()
    yield from _screen()
    yield from _process()
    yield from _cutover()


def _calls() -> Iterator[Line]:
    for route, part in ROUTES.items():
        for outcome, rate in (
            ("ok", 0.985), ("degraded", 0.001), ("failed", 0.001), ("overload", 0.0005),
            ("rejected", 0.002), ("client_error", 0.004), ("cancelled", 0.006),
        ):  # fmt: skip
            worse = 12.0 if outcome in ("failed", "overload") else 1.0
            yield (
                "hamlet_requests_total",
                {"route": route, "outcome": outcome},
                (lambda h, p=part, r=rate, w=worse: p * r * load(h) * (w if out(h) else 1)),
                "counter",
            )
        yield from _hist(
            "hamlet_request_duration_seconds",
            {"route": route, "stream": "true"},
            2.6 if route == "chat" else 0.6,
            lambda h, p=part: p * load(h),
        )
        yield from _hist(
            "hamlet_time_to_first_token_seconds",
            {"route": route},
            0.55,
            lambda h, p=part: p * load(h),
        )
        for reason in ("busy", "no_deployment", "rate_limited", "rate_limit_exceeded"):
            yield (
                "hamlet_rejected_total",
                {"route": route, "reason": reason},
                (lambda h, p=part: 0.002 * p * load(h) * (5 if out(h) else 1)),
                "counter",
            )
        for by, rate in (("client", 0.006), ("upstream", 0.0008), ("server", 0.0)):
            yield (
                "hamlet_response_aborts_total",
                {"route": route, "by": by},
                (lambda h, p=part, r=rate: p * r * load(h)),
                "counter",
            )
        for kind, rate in (("retry", 0.01), ("failover", 0.015), ("spill", 0.03), ("hedge", 0.02)):
            yield (
                "hamlet_reattempts_total",
                {"route": route, "kind": kind},
                (lambda h, p=part, r=rate: p * r * load(h) * (4 if out(h) else 1)),
                "counter",
            )
        for tier in ("1", "2", "3", "4"):
            yield (
                "hamlet_answers_total",
                {"route": route, "tier": tier},
                (lambda h, p=part, t=tier: p * load(h) * _tier(h, t)),
                "counter",
            )
        yield (
            "hamlet_avoidable_spills_total",
            {"route": route},
            (lambda h, p=part: 0.004 * p * load(h)),
            "counter",
        )
        for name in ("hamlet_retry_budget_ratio", "hamlet_hedge_budget_ratio"):
            yield name, {"route": route}, lambda h: 0.35 if out(h) else 0.97, "gauge"
    for path, part in (("/v1/chat/completions", 0.9), ("/v1/suggest", 0.4)):
        for code, rate in (("200", 0.98), ("429", 0.003), ("503", 0.002), ("400", 0.004)):
            yield (
                "hamlet_http_responses_total",
                {"path": path, "code": code},
                (lambda h, p=part, r=rate: p * r * load(h)),
                "counter",
            )


def _tier(hour: float, tier: str) -> float:
    paid = share(hour, PAID)
    other = share(hour, OTHER)
    home = 0.0 if out(hour) else 0.5
    return {"1": home, "2": 1 - home - paid - other, "3": paid, "4": other}[tier]


def _attempts() -> Iterator[Line]:
    for deployment in ALL:
        of = {"deployment": deployment}
        for result in L.RESULTS:
            yield (
                "hamlet_attempts_total",
                of | {"result": result},
                (lambda h, d=deployment, r=result: _result(h, d, r)),
                "counter",
            )
        for phase in ("connect", "open", "stream"):
            yield (
                "hamlet_timeouts_total",
                of | {"phase": phase},
                (lambda h, d=deployment, p=phase: failing(h, d) * (0.2 if p == "open" else 0.03)),
                "counter",
            )
        for kind, rate in (
            ("input", 900),
            ("output", 260),
            ("cached_input", 340),
            ("reasoning", 20),
        ):
            yield (
                "hamlet_tokens_total",
                of | {"token_type": kind},
                (lambda h, d=deployment, r=rate: r * load(h) * share(h, d)),
                "counter",
            )
        usd = 0.0009 if deployment in (PAID, OTHER) else 0.0
        yield (
            "hamlet_cost_usd_total",
            of | {"route": "chat"},
            (lambda h, d=deployment, u=usd: u * load(h) * share(h, d)),
            "counter",
        )
    for provider, busy in (("azure", 2.4), ("anthropic", 0.3)):
        of = {"provider": provider}
        for state, part in (("busy", 1.0), ("idle", 0.4), ("opening", 0.02)):
            yield (
                "hamlet_http_pool_connections",
                of | {"state": state},
                (lambda h, b=busy, p=part: round(b * p * load(h))),
                "gauge",
            )
        yield (
            "hamlet_http_pool_wait_seconds_total",
            of,
            (lambda h, b=busy: 0.002 * b * load(h) * (40 if out(h) else 1)),
            "counter",
        )
    for provider, model, slow in (("azure", "gpt-5", 1.0), ("anthropic", "claude", 1.5)):
        of = {"provider": provider, "model": model}
        for kind, part in (("", 0.97), ("error", 0.02), ("timeout", 0.01)):
            yield from _hist(
                "gen_ai_client_operation_duration_seconds",
                {**of, "operation": "chat", "error_type": kind},
                0.5 * slow,
                lambda h, p=part, s=slow: p * load(h) / s,
            )
        yield from _hist(
            "gen_ai_client_operation_time_to_first_chunk_seconds",
            of,
            0.5 * slow,
            lambda h, s=slow: load(h) / s,
        )
        yield from _hist(
            "gen_ai_server_time_per_output_token_seconds",
            of,
            0.022 * slow,
            lambda h, s=slow: load(h) / s,
        )
        for kind, size in (("input", 900), ("output", 260)):
            yield from _hist(
                "gen_ai_client_token_usage",
                of | {"token_type": kind},
                size,
                lambda h, s=slow: load(h) / s,
            )


def _result(hour: float, deployment: str, result: str) -> float:
    if result == "ok":
        return load(hour) * share(hour, deployment)
    if result == "rate_limited":
        return 0.02 * load(hour) * share(hour, deployment)
    parts = {"upstream_unavailable": 0.6, "upstream_timeout": 0.3, "overloaded": 0.1}
    return failing(hour, deployment) * parts.get(result, 0.0)


def _deployments() -> Iterator[Line]:
    for n, deployment in enumerate(ALL):
        of = {"deployment": deployment}
        reserved = deployment in RESERVED
        region = deployment.split("/")[0].removeprefix("azure-") if reserved else ""
        info = {
            "route": "chat", "provider": deployment.split("/")[0], "model": "gpt-5",
            "region": region, "tier": "1", "capacity": "reserved" if reserved else "quota",
        }  # fmt: skip
        yield "hamlet_deployment_info", of | info, lambda h: 1, "gauge"
        ptu, rate = 50.0, 50 * 2500 / 60
        yield (
            "hamlet_deployment_fill_ratio",
            of,
            (
                lambda h, d=deployment: min(
                    1.1, max(0.0, 15.0 * load(h) / 13 * share(h, d) + _noise(h, d) * 0.08)
                )
            ),
            "gauge",
        )
        if reserved:
            yield "hamlet_deployment_depth_seconds", of, lambda h, n=n: 24 + n % 7 * 3, "gauge"
            yield "hamlet_deployment_ptu", of, lambda h, p=ptu: p, "gauge"
            yield "hamlet_deployment_capacity_tokens_per_second", of, lambda h, r=rate: r, "gauge"
            yield (
                "hamlet_deployment_charged_tokens_total",
                of,
                (lambda h, d=deployment, r=rate: min(r, 3200 * load(h) * share(h, d))),
                "counter",
            )
        yield (
            "hamlet_deployment_slowness_ratio",
            of,
            (lambda h, d=deployment: 1 + abs(_noise(h, d)) * (2 if d.endswith("7") else 0.3)),
            "gauge",
        )
        yield (
            "hamlet_deployment_cooldown_seconds",
            of,
            (lambda h, d=deployment: 8.0 * (out(h, d) or _noise(h + 3, d) > 0.93)),
            "gauge",
        )
        yield (
            "hamlet_deployment_in_flight",
            of,
            (lambda h, d=deployment: round(load(h) * share(h, d) * 20)),
            "gauge",
        )
        yield (
            "hamlet_circuit_changes_total",
            of,
            lambda h, d=deployment: 0.01 * out(h, d),
            "counter",
        )
        for state in L.STATES:
            yield (
                "hamlet_circuit_state",
                of | {"state": state},
                (lambda h, d=deployment, s=state: float(_breaker(h, d) == s)),
                "gauge",
            )
    for deployment, least in ((PAID, 0.35), (OTHER, 0.6)):
        for kind, more in (("tokens", 0.0), ("requests", 0.2)):
            yield (
                "hamlet_rate_limit_remaining_ratio",
                {"deployment": deployment, "kind": kind},
                (lambda h, d=deployment, s=least + more: max(0.04, s - 2.2 * share(h, d))),
                "gauge",
            )
    for state in ("local", "shared", "away"):
        yield (
            "hamlet_fleet_shared_state",
            {"state": state},
            (lambda h, s=state: float(s == ("away" if 4.4 < h < 4.6 else "shared"))),
            "gauge",
        )


def _breaker(hour: float, deployment: str) -> str:
    if out(hour, deployment):
        return "open"
    if 0 <= hour - _OUTAGE[1] < 0.1 and "koreacentral" in deployment:
        return "half_open"
    return "open" if deployment.endswith("sweden/gpt-7") and 1 < hour < 1.3 else "closed"


def _screen() -> Iterator[Line]:
    where = {
        "links": (
            ("web", 0.4),
            ("cache", 0.35),
            ("embedded", 0.2),
            ("starter", 0.04),
            ("stale", 0.01),
        ),
        "chips": (("llm", 0.45), ("cache", 0.3), ("embedded", 0.2), ("starter", 0.05)),
    }
    for part, tiers in where.items():
        for tier, rate in tiers:
            yield "hamlet_suggest_answers_total", {
                "surface": "home", "part": part, "tier": tier
            }, lambda h, r=rate: r * load(h) * 0.6, "counter"  # fmt: skip
            for type_, much in (
                ("impression", 4.0),
                ("click", 0.3),
                ("submit", 0.05),
                ("hide", 0.02),
            ):
                yield "hamlet_suggest_events_total", {
                    "part": part, "tier": tier, "type": type_
                }, (lambda h, r=rate, m=much, t=tier: r * m * load(h) * 0.6
                    * (1.4 if t in ("llm", "web") else 1)), "counter"  # fmt: skip
        for result, rate in (("hit", 0.33), ("stale", 0.05), ("miss", 0.62)):
            yield (
                "hamlet_suggest_cache_total",
                {"part": part, "result": result},
                (lambda h, r=rate: r * load(h) * 0.6),
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
        }, lambda h: 0.02 * load(h) * (4 if out(h) else 1), "counter"  # fmt: skip
    for surface, part in (("home", 0.4), ("search", 0.15), ("chat", 0.05)):
        yield from _hist(
            "hamlet_suggest_duration_seconds",
            {"surface": surface},
            0.25,
            lambda h, p=part: p * load(h),
        )
        yield (
            "hamlet_suggest_late_total",
            {"surface": surface},
            (lambda h, p=part: 0.004 * p * load(h)),
            "counter",
        )
    for source in ("brave", "naver"):
        yield (
            "hamlet_web_source_open",
            {"source": source},
            (lambda h, s=source: float(s == "brave" and 2 < h < 2.25)),
            "gauge",
        )


def _process() -> Iterator[Line]:
    for name, value in (
        ("hamlet_calls_in_flight", lambda h: round(load(h) * 3)),
        ("hamlet_calls_limit", lambda h: 1000),
        ("hamlet_queue_depth", lambda h: 0),
        ("hamlet_distress_level", lambda h: 0),
        ("hamlet_ready", lambda h: 1),
        ("hamlet_draining", lambda h: 0),
        ("hamlet_config_last_reload_ok", lambda h: 1),
        ("hamlet_series", lambda h: 4100),
        ("hamlet_render_seconds", lambda h: 0.14 + 0.02 * _noise(h, "r")),
        ("process_resident_memory_bytes", lambda h: 2.1e8 + 1.5e6 * h + 4e6 * _noise(h, "m")),
        ("process_open_fds", lambda h: 60 + load(h) * 6),
        ("process_max_fds", lambda h: 4096),
    ):
        yield name, {}, value, "gauge"
    yield "hamlet_build_info", {"version": "0.1.0"}, lambda h: 1, "gauge"
    yield "hamlet_telemetry_errors_total", {}, lambda h: 0, "counter"
    yield "hamlet_config_reloads_total", {"outcome": "ok"}, lambda h: 0, "counter"
    yield "process_cpu_seconds_total", {}, lambda h: 0.03 * load(h), "counter"
    for generation in ("0", "1", "2"):
        yield (
            "python_gc_collections_total",
            {"generation": generation},
            (lambda h, g=generation: load(h) / 10 ** (int(g) + 1)),
            "counter",
        )
    yield from _hist("hamlet_event_loop_lag_seconds", {}, 0.002, lambda h: 30)
    yield from _hist("hamlet_queue_wait_seconds", {}, 0.0005, load)


def _cutover() -> Iterator[Line]:
    for feature, begin in (("chat", 1.0), ("related_links", -2.0)):

        def at(hour: float, begin: float = begin) -> int:
            return min(4, max(1, 1 + int((hour - begin) / 1.2)))

        of = {"feature": feature}
        for i, stage in enumerate(("legacy", "proxy", "shadow", "canary", "new", "retired")):
            yield (
                "hamlet_cutover_state",
                of | {"state": stage},
                (lambda h, i=i, at=at: float(at(h) == i)),
                "gauge",
            )
        yield (
            "hamlet_cutover_weight_ratio",
            of,
            (lambda h, at=at: {3: 0.2, 4: 1.0}.get(at(h), 0.0)),
            "gauge",
        )
        for arm in ("legacy", "new"):

            def part(hour: float, arm: str = arm, at: Callable[[float], int] = at) -> float:
                new = {3: 0.2, 4: 1.0}.get(at(hour), 0.0)
                return load(hour) * (new if arm == "new" else 1 - new)

            for outcome, rate in (
                ("ok", 0.99),
                ("failed", 0.002),
                ("rescued", 0.002 * (arm == "new")),
            ):
                yield (
                    "hamlet_cutover_requests_total",
                    of | {"arm": arm, "outcome": outcome},
                    (lambda h, r=rate, p=part: r * p(h)),
                    "counter",
                )
            for name, typical in (("duration", 2.4), ("first_byte", 0.6)):
                better = 0.8 if arm == "new" else 1.0
                yield from _hist(
                    f"hamlet_cutover_{name}_seconds", of | {"arm": arm}, typical * better, part
                )
        for reason in ("status", "timeout", "exception"):
            yield (
                "hamlet_cutover_rescues_total",
                of | {"reason": reason},
                (lambda h: 0.002 * load(h)),
                "counter",
            )
        for kind in ("candidate", "noise"):
            for verdict, rate in _VERDICTS:
                yield (
                    "hamlet_cutover_comparisons_total",
                    of | {"kind": kind, "verdict": verdict},
                    (lambda h, r=rate: r * load(h) * 0.2),
                    "counter",
                )
        for reason in ("too_large", "busy", "budget"):
            yield (
                "hamlet_cutover_shadow_dropped_total",
                of | {"reason": reason},
                (lambda h: 0.001 * load(h)),
                "counter",
            )
        yield (
            "hamlet_cutover_transitions_total",
            of | {"to": "canary", "cause": "operator"},
            (lambda h: 2.0 / 21600),
            "counter",
        )


def _node() -> Iterator[Line]:
    base = {"job": "node", "instance": "node-0:9100"}
    for mode, part in (("idle", 0.7), ("user", 0.25), ("system", 0.05)):
        yield (
            "node_cpu_seconds_total",
            base | {"cpu": "0", "mode": mode},
            (lambda h, p=part: p - (0.02 * load(h) - 0.15) * (1 if p > 0.5 else -0.5)),
            "counter",
        )
    for name, value in (
        ("node_memory_MemAvailable_bytes", 5.1e9), ("node_memory_MemTotal_bytes", 8.3e9),
    ):  # fmt: skip
        yield name, base, lambda h, v=value: v, "gauge"
    for name, size in (("node_filesystem_avail_bytes", 3e10), ("node_filesystem_size_bytes", 8e10)):
        yield name, base | {"mountpoint": "/"}, lambda h, s=size: s, "gauge"
    for way in ("receive", "transmit"):
        yield (
            f"node_network_{way}_bytes_total",
            base | {"device": "eth0"},
            (lambda h: 40_000 * load(h)),
            "counter",
        )
    edge = {"job": "envoy", "instance": "edge:9901"}
    for cluster in ("hamlet1", "hamlet2"):
        of = edge | {"envoy_cluster_name": cluster}
        yield "envoy_cluster_upstream_rq_total", of, load, "counter"
        yield "envoy_cluster_upstream_rq_retry", of, lambda h: 0.01 * load(h), "counter"
        yield (
            "envoy_cluster_upstream_rq_xx",
            of | {"envoy_response_code_class": "5"},
            (lambda h: 0.003 * load(h)),
            "counter",
        )
        yield "envoy_cluster_membership_healthy", of, lambda h: 3, "gauge"


def _hist(name: str, labels: dict[str, str], typical: float, rate: Value) -> Iterator[Line]:
    """A histogram whose values are log-normal around what is typical."""
    metric: Metric = CATALOGUE[name]

    def below(bound: float, hour: float) -> float:
        slower = typical * (1.8 if out(hour) else 1.0)
        return 0.5 * (1 + math.erf(math.log(bound / slower) / 0.7 / math.sqrt(2)))

    for bound in metric.buckets:
        yield (
            f"{name}_bucket",
            labels | {"le": str(float(bound))},
            (lambda h, b=bound: rate(h) * below(b, h)),
            "counter",
        )
    yield f"{name}_bucket", labels | {"le": "+Inf"}, rate, "counter"
    yield f"{name}_count", labels, rate, "counter"
    yield f"{name}_sum", labels, lambda h: rate(h) * typical * 1.28, "counter"


def _noise(hour: float, key: str) -> float:
    return random.Random(f"{key}{int(hour * 12)}").uniform(-1, 1)


def openmetrics(end: float, hours: float = HOURS) -> Iterator[str]:
    """The whole history, ending at Unix time `end`."""
    steps = int(hours * 3600 / STEP_S)
    families: dict[str, list[Line]] = {}
    for row in rows():
        families.setdefault(row[0], []).append(row)
    for name, lines in families.items():
        yield f"# TYPE {name} unknown\n"
        for _, labels, value, kind in lines:
            text = ",".join(f'{k}="{v}"' for k, v in labels.items())
            total = 0.0
            for step in range(steps + 1):
                now = value(step * STEP_S / 3600)
                total = total + max(0.0, now) * STEP_S if kind == "counter" else now
                yield f"{name}{{{text}}} {total:.6g} {end - (steps - step) * STEP_S:.0f}\n"
    yield "# EOF\n"
