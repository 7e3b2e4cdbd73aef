"""Series that make each alert fire, those just below, and how long it takes.

Counters are given as events per minute, gauges as values; both return to healthy values in the second half.
"""

from dataclasses import dataclass, field

CALLS = 'hamlet_requests_total{route="r",outcome="%s"}'
TRIES = 'hamlet_attempts_total{deployment="p/m",result="%s"}'
CONNECTS = 'hamlet_connect_failures_total{deployment="p/%s",cause="%s"}'
OTHER_TRIES = 'hamlet_attempts_total{deployment="p/few",result="upstream_unavailable"}'
FIRST = 'hamlet_time_to_first_token_seconds_%s{route="r"%s}'
HTTP = 'hamlet_http_responses_total{path="/v1/chat/completions",code="%s"}'
OPEN = 'hamlet_circuit_state{deployment="p/m",instance="%s",state="open"}'
FILL = 'hamlet_deployment_fill_ratio{deployment="p/%s"}'
PTU = 'hamlet_deployment_ptu{deployment="p/%s"}'
LEFT = 'hamlet_rate_limit_remaining_ratio{deployment="p/m",instance="%s",kind="tokens"}'
WAIT = 'hamlet_queue_wait_seconds_bucket{le="%s"}'
LAG = 'hamlet_event_loop_lag_seconds_bucket{instance="a",le="%s"}'
UP = 'up{job="hamlet",instance="%s"}'
READY = 'hamlet_ready{job="hamlet",instance="%s"}'
MOVES = 'hamlet_cutover_transitions_total{feature="f",to="proxy",cause="%s"}'
RESCUES = 'hamlet_cutover_rescues_total{feature="f",reason="timeout"}'
ARM = 'hamlet_cutover_requests_total{feature="f",arm="new",outcome="ok"}'
RSS = 'process_resident_memory_bytes{job="hamlet",instance="a"}'
COST = 'hamlet_cost_usd_total{route="r",deployment="p/m"}'
SPILLS = 'hamlet_avoidable_spills_total{route="r"}'
ANSWERS = 'hamlet_answers_total{route="r",tier="%s"}'
SHOWN = 'hamlet_suggest_duration_seconds_count{surface="home"}'
LATE = 'hamlet_suggest_late_total{surface="home"}'
WEB = 'hamlet_web_source_open{source="%s"}'


@dataclass
class Case:
    """`fires` and `below` are {series: (value now, value when well)}; minutes."""

    fires: dict[str, tuple[float, float]]
    below_threshold: dict[str, tuple[float, float]]
    firing_minutes: int
    recovery_minutes: int
    is_gauge: bool = False
    step_minutes: int = 1
    more: dict[str, str] = field(default_factory=dict)


def request_series(
    failed: float, well: float = 0, total: float = 1000
) -> dict[str, tuple[float, float]]:
    return {CALLS % "failed": (failed, well), CALLS % "ok": (total - failed, total - well)}


def first_token_series(late: float, total: float = 1000) -> dict[str, tuple[float, float]]:
    return {
        FIRST % ("bucket", ',le="2.56"'): (total - late, total),
        FIRST % ("count", ""): (total, total),
    }


def attempt_series(failed: float, ok: float) -> dict[str, tuple[float, float]]:
    return {TRIES % "upstream_unavailable": (failed, 0), TRIES % "ok": (ok, ok)}


def connect_series(refused: float, dns: float, ok: float) -> dict[str, tuple[float, float]]:
    return {
        CONNECTS % ("m", "refused"): (refused, 0),
        CONNECTS % ("m", "dns"): (dns, 0),
        **attempt_series(refused + dns, ok),
    }


def bucket_series(
    metric: str, edges: tuple[str, ...], slow: float
) -> dict[str, tuple[float, float]]:
    """All but `slow` of 100 observations a minute in the first bucket."""
    return {metric % edge: ((100 if edge == "+Inf" else 100 - slow), 100) for edge in edges}


CASES = {
    "HamletAvailabilityBurnFast": Case(request_series(75), request_series(70), 70, 15),
    "HamletAvailabilityBurnSlow": Case(
        request_series(32), request_series(28), 380, 60, step_minutes=2
    ),
    "HamletAvailabilityBurnTicket": Case(
        request_series(5.5), request_series(4.5), 4500, 900, step_minutes=15
    ),
    "HamletFirstTokenBurn": Case(
        first_token_series(760), first_token_series(290), 400, 60, step_minutes=2
    ),
    "HamletGatewayBurn": Case(
        {HTTP % "500": (8, 0), HTTP % "200": (992, 1000)},
        {HTTP % "500": (2.5, 0), HTTP % "200": (997, 1000)},
        400,
        60,
        step_minutes=2,
    ),
    "HamletDown": Case(
        {UP % "a": (0, 1), READY % "a": (1, 1)},
        {UP % "a": (1, 1), READY % "a": (1, 1)},
        5,
        12,
        True,
    ),
    "HamletPodsUnready": Case(
        {UP % "a": (1, 1), UP % "b": (1, 1), READY % "a": (1, 1), READY % "b": (0, 1)},
        {UP % "a": (1, 1), UP % "b": (1, 1), READY % "a": (1, 1), READY % "b": (1, 1)},
        8,
        12,
        True,
    ),
    "HamletModelCallFailing": Case(attempt_series(12, 40), attempt_series(9, 40), 15, 10),
    # Below: 48 % of many attempts, and all of four in five minutes.
    "HamletCannotConnect": Case(
        connect_series(6, 5, 10),
        connect_series(6, 5, 12) | {CONNECTS % ("few", "dns"): (0.8, 0), OTHER_TRIES: (0.8, 0)},
        15,
        10,
    ),
    "HamletRouteExhausted": Case({CALLS % "failed": (33, 0)}, {CALLS % "failed": (28, 0)}, 12, 15),
    "HamletCircuitOpenLong": Case(
        {OPEN % "a": (1, 0), OPEN % "b": (1, 0)},
        {OPEN % "a": (1, 0), OPEN % "b": (0, 0)},
        20,
        8,
        True,
    ),
    "HamletRetryStorm": Case(
        {TRIES % "ok": (160, 100), CALLS % "ok": (100, 100)},
        {TRIES % "ok": (145, 100), CALLS % "ok": (100, 100)},
        30,
        20,
    ),
    "HamletRetryBudgetExhausted": Case(
        {'hamlet_retry_budget_ratio{route="r"}': (0.04, 1)},
        {'hamlet_retry_budget_ratio{route="r"}': (0.06, 1)},
        8,
        5,
        True,
    ),
    "HamletFleetFull": Case(
        {FILL % "a": (0.95, 0.5), PTU % "a": (100, 100), FILL % "q": (0.1, 0.1)},
        {FILL % "a": (0.88, 0.5), PTU % "a": (100, 100), FILL % "q": (1, 1)},
        15,
        5,
        True,
    ),
    "HamletAvoidableSpill": Case(
        {SPILLS: (6, 0), ANSWERS % "1": (94, 100), ANSWERS % "2": (6, 0)},
        {SPILLS: (4, 0), ANSWERS % "1": (94, 100), ANSWERS % "2": (6, 0)},
        30,
        20,
    ),
    "HamletRateLimitHeadroom": Case(
        {LEFT % "a": (0.09, 0.5), LEFT % "b": (0.5, 0.5)},
        {LEFT % "a": (0.11, 0.5), LEFT % "b": (0.5, 0.5)},
        15,
        5,
        True,
    ),
    "HamletSharedStateAway": Case(
        {'hamlet_fleet_shared_state{state="away"}': (1, 0)},
        {'hamlet_fleet_shared_state{state="away"}': (0, 0)},
        8,
        5,
        True,
    ),
    "HamletQueueSaturated": Case(
        bucket_series(WAIT, ("0.25", "0.5", "+Inf"), 6) | {WAIT % "0.5": (100, 100)},
        bucket_series(WAIT, ("0.25", "0.5", "+Inf"), 4) | {WAIT % "0.5": (100, 100)},
        20,
        20,
    ),
    "HamletEventLoopLag": Case(
        bucket_series(LAG, ("0.25", "1.0", "+Inf"), 2) | {LAG % "1.0": (100, 100)},
        bucket_series(LAG, ("0.25", "1.0", "+Inf"), 0.5) | {LAG % "1.0": (100, 100)},
        15,
        12,
    ),
    # 12 hours at 2 MB a minute on top of 400 MB.
    "HamletMemoryGrowth": Case({RSS: (2e6, 0)}, {RSS: (1e6, 0)}, 400, 600, step_minutes=2),
    "HamletGuardrailTripped": Case(
        {MOVES % "guardrail": (0.2, 0)}, {MOVES % "operator": (0.2, 0)}, 10, 20
    ),
    "HamletRescueRate": Case(
        {RESCUES: (1.2, 0), ARM: (100, 100)}, {RESCUES: (0.9, 0), ARM: (100, 100)}, 15, 10
    ),
    "HamletTelemetryBroken": Case(
        {"hamlet_telemetry_errors_total": (1, 0), CALLS % "ok": (9, 9), TRIES % "ok": (9, 9)},
        {"hamlet_telemetry_errors_total": (0, 0), CALLS % "ok": (9, 9), TRIES % "ok": (9, 9)},
        15,
        15,
    ),
    "HamletSpendSpike": Case({COST: (0.06, 0)}, {COST: (0.015, 0)}, 120, 120, step_minutes=15),
    "HamletConfigRejected": Case(
        {"hamlet_config_last_reload_ok": (0, 1)},
        {"hamlet_config_last_reload_ok": (1, 1)},
        4,
        3,
        True,
    ),
    "HamletScreenLate": Case(
        {LATE: (6, 0), SHOWN: (100, 100)}, {LATE: (4, 0), SHOWN: (100, 100)}, 30, 20
    ),
    "HamletWebSourcesAway": Case(
        {WEB % "a": (1, 0), WEB % "b": (1, 1)}, {WEB % "a": (0, 0), WEB % "b": (1, 1)}, 15, 5, True
    ),
}


def promtool_series(
    case: Case, values: dict[str, tuple[float, float]], name: str
) -> list[dict[str, str]]:
    """promtool's input series: some minutes as given, then well."""
    n, after = case.firing_minutes // case.step_minutes, case.recovery_minutes // case.step_minutes
    made = []
    for of, (now, well) in values.items():
        if case.is_gauge:
            text = f"{now}+0x{n} {well}+0x{after}"
        elif name == "HamletMemoryGrowth":
            grown = 4e8 + now * case.firing_minutes
            text = f"{4e8}+{now * case.step_minutes}x{n} {grown}+0x{after}"
        else:
            grown = round(now * case.step_minutes * n, 6)
            text = f"0+{now * case.step_minutes}x{n} {grown}+{well * case.step_minutes}x{after}"
        made.append({"series": of, "values": text})
    if name == "HamletSpendSpike":
        made = [{"series": COST, "values": _one_week_baseline(values[COST])}]
    return made


def _one_week_baseline(values: tuple[float, float]) -> str:
    """A cent a minute last week and until two hours ago; in steps of a quarter."""
    steps, now = 7 * 96, values[0] * 15
    before = 0.01 * 15
    top = round(before * steps, 6)
    return f"0+{before}x{steps} {round(top + now, 6)}+{now}x8 {round(top + now * 9, 6)}+{before}x12"
