"""The series of calls, attempts and deployments."""

from collections.abc import Iterator

from hamlet.telemetry import labels as L
from loadtest.tools.history.model import (
    ALL,
    OTHER_VENDOR,
    OUTAGE,
    PAY_AS_YOU_GO,
    RESERVED,
    ROUTES,
    SeriesSpec,
    calls_per_s,
    failures_per_s,
    histogram_series,
    is_region_down,
    noise,
    traffic_share,
)


def call_series() -> Iterator[SeriesSpec]:
    for route, part in ROUTES.items():
        for outcome, rate in (
            ("ok", 0.985), ("degraded", 0.001), ("failed", 0.001), ("overload", 0.0005),
            ("rejected", 0.002), ("client_error", 0.004), ("cancelled", 0.006),
        ):  # fmt: skip
            outage_factor = 12.0 if outcome in ("failed", "overload") else 1.0
            yield (
                "hamlet_requests_total",
                {"route": route, "outcome": outcome},
                (
                    lambda h, p=part, r=rate, w=outage_factor: (
                        p * r * calls_per_s(h) * (w if is_region_down(h) else 1)
                    )
                ),
                "counter",
            )
        yield from histogram_series(
            "hamlet_request_duration_seconds",
            {"route": route, "stream": "true"},
            2.6 if route == "chat" else 0.6,
            lambda h, p=part: p * calls_per_s(h),
        )
        yield from histogram_series(
            "hamlet_time_to_first_token_seconds",
            {"route": route},
            0.55,
            lambda h, p=part: p * calls_per_s(h),
        )
        for reason in ("busy", "no_deployment", "rate_limited", "rate_limit_exceeded"):
            yield (
                "hamlet_rejected_total",
                {"route": route, "reason": reason},
                (lambda h, p=part: 0.002 * p * calls_per_s(h) * (5 if is_region_down(h) else 1)),
                "counter",
            )
        for by, rate in (("client", 0.006), ("upstream", 0.0008), ("server", 0.0)):
            yield (
                "hamlet_response_aborts_total",
                {"route": route, "by": by},
                (lambda h, p=part, r=rate: p * r * calls_per_s(h)),
                "counter",
            )
        for kind, rate in (("retry", 0.01), ("failover", 0.015), ("spill", 0.03), ("hedge", 0.02)):
            yield (
                "hamlet_reattempts_total",
                {"route": route, "kind": kind},
                (
                    lambda h, p=part, r=rate: (
                        p * r * calls_per_s(h) * (4 if is_region_down(h) else 1)
                    )
                ),
                "counter",
            )
        for tier in ("1", "2", "3", "4"):
            yield (
                "hamlet_answers_total",
                {"route": route, "tier": tier},
                (lambda h, p=part, t=tier: p * calls_per_s(h) * _tier_share(h, t)),
                "counter",
            )
        yield (
            "hamlet_avoidable_spills_total",
            {"route": route},
            (lambda h, p=part: 0.004 * p * calls_per_s(h)),
            "counter",
        )
        for name in ("hamlet_retry_budget_ratio", "hamlet_hedge_budget_ratio"):
            yield name, {"route": route}, lambda h: 0.35 if is_region_down(h) else 0.97, "gauge"
    for path, part in (("/v1/chat/completions", 0.9), ("/v1/suggest", 0.4)):
        for code, rate in (("200", 0.98), ("429", 0.003), ("503", 0.002), ("400", 0.004)):
            yield (
                "hamlet_http_responses_total",
                {"path": path, "code": code},
                (lambda h, p=part, r=rate: p * r * calls_per_s(h)),
                "counter",
            )


def _tier_share(hour: float, tier: str) -> float:
    paid = traffic_share(hour, PAY_AS_YOU_GO)
    other = traffic_share(hour, OTHER_VENDOR)
    home = 0.0 if is_region_down(hour) else 0.5
    return {"1": home, "2": 1 - home - paid - other, "3": paid, "4": other}[tier]


def attempt_series() -> Iterator[SeriesSpec]:
    for deployment in ALL:
        labels = {"deployment": deployment}
        for result in L.RESULTS:
            yield (
                "hamlet_attempts_total",
                labels | {"result": result},
                (lambda h, d=deployment, r=result: _result_rate(h, d, r)),
                "counter",
            )
        for phase in ("connect", "open", "stream"):
            yield (
                "hamlet_timeouts_total",
                labels | {"phase": phase},
                (
                    lambda h, d=deployment, p=phase: (
                        failures_per_s(h, d) * (0.2 if p == "open" else 0.03)
                    )
                ),
                "counter",
            )
        for cause in L.CONNECT_CAUSES:
            yield (
                "hamlet_connect_failures_total",
                labels | {"cause": cause},
                (
                    lambda h, d=deployment, c=cause: (
                        failures_per_s(h, d) * {"timeout": 0.03, "reset": 0.01}.get(c, 0)
                    )
                ),
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
                labels | {"token_type": kind},
                (lambda h, d=deployment, r=rate: r * calls_per_s(h) * traffic_share(h, d)),
                "counter",
            )
        usd = 0.0009 if deployment in (PAY_AS_YOU_GO, OTHER_VENDOR) else 0.0
        yield (
            "hamlet_cost_usd_total",
            labels | {"route": "chat"},
            (lambda h, d=deployment, u=usd: u * calls_per_s(h) * traffic_share(h, d)),
            "counter",
        )
    for provider, busy in (("azure", 2.4), ("anthropic", 0.3)):
        labels = {"provider": provider}
        for state, part in (("busy", 1.0), ("idle", 0.4), ("opening", 0.02)):
            yield (
                "hamlet_http_pool_connections",
                labels | {"state": state},
                (lambda h, b=busy, p=part: round(b * p * calls_per_s(h))),
                "gauge",
            )
        yield (
            "hamlet_http_pool_wait_seconds_total",
            labels,
            (lambda h, b=busy: 0.002 * b * calls_per_s(h) * (40 if is_region_down(h) else 1)),
            "counter",
        )
    for provider, model, slow in (("azure", "gpt-5", 1.0), ("anthropic", "claude", 1.5)):
        labels = {"provider": provider, "model": model}
        for kind, part in (("", 0.97), ("error", 0.02), ("timeout", 0.01)):
            yield from histogram_series(
                "gen_ai_client_operation_duration_seconds",
                {**labels, "operation": "chat", "error_type": kind},
                0.5 * slow,
                lambda h, p=part, s=slow: p * calls_per_s(h) / s,
            )
        yield from histogram_series(
            "gen_ai_client_operation_time_to_first_chunk_seconds",
            labels,
            0.5 * slow,
            lambda h, s=slow: calls_per_s(h) / s,
        )
        yield from histogram_series(
            "gen_ai_server_time_per_output_token_seconds",
            labels,
            0.022 * slow,
            lambda h, s=slow: calls_per_s(h) / s,
        )
        for kind, size in (("input", 900), ("output", 260)):
            yield from histogram_series(
                "gen_ai_client_token_usage",
                labels | {"token_type": kind},
                size,
                lambda h, s=slow: calls_per_s(h) / s,
            )


def _result_rate(hour: float, deployment: str, result: str) -> float:
    if result == "ok":
        return calls_per_s(hour) * traffic_share(hour, deployment)
    if result == "rate_limited":
        return 0.02 * calls_per_s(hour) * traffic_share(hour, deployment)
    parts = {"upstream_unavailable": 0.6, "upstream_timeout": 0.3, "overloaded": 0.1}
    return failures_per_s(hour, deployment) * parts.get(result, 0.0)


def deployment_series() -> Iterator[SeriesSpec]:
    for n, deployment in enumerate(ALL):
        labels = {"deployment": deployment}
        reserved = deployment in RESERVED
        region = deployment.split("/")[0].removeprefix("azure-") if reserved else ""
        info = {
            "route": "chat", "provider": deployment.split("/")[0], "model": "gpt-5",
            "region": region, "tier": "1", "capacity": "reserved" if reserved else "quota",
        }  # fmt: skip
        yield "hamlet_deployment_info", labels | info, lambda h: 1, "gauge"
        ptu, rate = 50.0, 50 * 2500 / 60
        yield (
            "hamlet_deployment_fill_ratio",
            labels,
            (
                lambda h, d=deployment: min(
                    1.1,
                    max(0.0, 15.0 * calls_per_s(h) / 13 * traffic_share(h, d) + noise(h, d) * 0.08),
                )
            ),
            "gauge",
        )
        if reserved:
            yield "hamlet_deployment_depth_seconds", labels, lambda h, n=n: 24 + n % 7 * 3, "gauge"
            yield "hamlet_deployment_ptu", labels, lambda h, p=ptu: p, "gauge"
            yield (
                "hamlet_deployment_capacity_tokens_per_second",
                labels,
                lambda h, r=rate: r,
                "gauge",
            )
            yield (
                "hamlet_deployment_charged_tokens_total",
                labels,
                (
                    lambda h, d=deployment, r=rate: min(
                        r, 3200 * calls_per_s(h) * traffic_share(h, d)
                    )
                ),
                "counter",
            )
        yield (
            "hamlet_deployment_slowness_ratio",
            labels,
            (lambda h, d=deployment: 1 + abs(noise(h, d)) * (2 if d.endswith("7") else 0.3)),
            "gauge",
        )
        yield (
            "hamlet_deployment_cooldown_seconds",
            labels,
            (lambda h, d=deployment: 8.0 * (is_region_down(h, d) or noise(h + 3, d) > 0.93)),
            "gauge",
        )
        yield (
            "hamlet_deployment_in_flight",
            labels,
            (lambda h, d=deployment: round(calls_per_s(h) * traffic_share(h, d) * 20)),
            "gauge",
        )
        yield (
            "hamlet_circuit_changes_total",
            labels,
            lambda h, d=deployment: 0.01 * is_region_down(h, d),
            "counter",
        )
        for state in L.CIRCUIT_STATES:
            yield (
                "hamlet_circuit_state",
                labels | {"state": state},
                (lambda h, d=deployment, s=state: float(_circuit_state(h, d) == s)),
                "gauge",
            )
    for deployment, floor in ((PAY_AS_YOU_GO, 0.35), (OTHER_VENDOR, 0.6)):
        for kind, more in (("tokens", 0.0), ("requests", 0.2)):
            yield (
                "hamlet_rate_limit_remaining_ratio",
                {"deployment": deployment, "kind": kind},
                (lambda h, d=deployment, s=floor + more: max(0.04, s - 2.2 * traffic_share(h, d))),
                "gauge",
            )
    for state in ("local", "shared", "away"):
        yield (
            "hamlet_fleet_shared_state",
            {"state": state},
            (lambda h, s=state: float(s == ("away" if 4.4 < h < 4.6 else "shared"))),
            "gauge",
        )


def _circuit_state(hour: float, deployment: str) -> str:
    if is_region_down(hour, deployment):
        return "open"
    if 0 <= hour - OUTAGE[1] < 0.1 and "koreacentral" in deployment:
        return "half_open"
    return "open" if deployment.endswith("sweden/gpt-7") and 1 < hour < 1.3 else "closed"
