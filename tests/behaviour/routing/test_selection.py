"""Which deployment is selected, and why others are not."""

import pytest

from hamlet.core import Feature, Headroom, ModelCard, Usage, errors
from hamlet.registry import Quota, ReservedThroughput, Route
from hamlet.routing import CostEstimate, LoadBalancer, PendingUpdates, RoomWait, Selection
from support.clock import ManualClock
from support.routing import PTU, RoutingHarness, stub_deployment


def fill_bucket(harness: RoutingHarness, name: str, share: float) -> None:
    """Use that part of a deployment's capacity."""
    harness.deployment_state(name).capacity_model.reserve(30_000 * share, harness.clock())


def test_first_tier_with_room_is_selected() -> None:
    harness = RoutingHarness(
        [stub_deployment("home")],
        [stub_deployment("far")],
        [stub_deployment("paid", Quota(60_000, None))],
    )
    assert harness.count_selections() == {"home": 200}
    fill_bucket(harness, "home", 1.0)
    assert harness.count_selections() == {"far": 200}
    fill_bucket(harness, "far", 1.0)
    assert harness.count_selections() == {"paid": 200}


def test_critical_calls_may_fill_a_deployment() -> None:
    harness = RoutingHarness([stub_deployment("home")], [stub_deployment("far")])
    fill_bucket(harness, "home", 0.9)
    assert harness.count_selections(cost=CostEstimate(100, 100, sheddable=True)) == {"far": 200}
    assert harness.count_selections(cost=CostEstimate(100, 100)) == {"home": 200}


def test_selection_is_weighted_by_capacity() -> None:
    large = ReservedThroughput(96, 2500, 3.0)
    harness = RoutingHarness(
        [stub_deployment("small"), stub_deployment("large", large), stub_deployment("other")]
    )
    names = harness.count_selections(3000)
    assert names["large"] > 2 * names["small"] > 0


def test_less_loaded_of_two_is_selected() -> None:
    harness = RoutingHarness([stub_deployment("hot"), stub_deployment("cold")])
    fill_bucket(harness, "hot", 0.9)
    harness.deployment_state("cold").slowness.observe(5.0, harness.clock())
    names = harness.count_selections()
    assert names["cold"] > 190


def test_emptier_of_two_loaded_is_selected() -> None:
    harness = RoutingHarness([stub_deployment("a"), stub_deployment("b")])
    fill_bucket(harness, "a", 0.93)
    fill_bucket(harness, "b", 0.83)
    assert harness.count_selections()["b"] > 190


def test_faster_of_two_unloaded_is_selected() -> None:
    harness = RoutingHarness([stub_deployment("slow"), stub_deployment("quick")])
    harness.deployment_state("slow").slowness.observe(4.0, harness.clock())
    assert harness.count_selections()["quick"] > 190
    whole = CostEstimate(100, 100, 100, stream=False)
    assert harness.count_selections(cost=whole)["quick"] > 190


def record_slow_answers(harness: RoutingHarness, name: str) -> None:
    """Two responses in a row that took far longer than expected."""
    harness.load_balancer.route_state(harness.route)
    for _ in range(2):
        harness.deployment_state(name).slowness.observe(9.0, harness.clock())


def test_outlier_is_skipped_while_others_have_room() -> None:
    harness = RoutingHarness([stub_deployment("slow")], [stub_deployment("far")])
    record_slow_answers(harness, "slow")
    assert harness.count_selections() == {"far": 200}


def test_outlier_is_selected_as_last_resort() -> None:
    harness = RoutingHarness([stub_deployment("slow")], [stub_deployment("far")])
    record_slow_answers(harness, "slow")
    fill_bucket(harness, "far", 1.0)
    assert harness.count_selections() == {"slow": 200}
    fill_bucket(harness, "slow", 1.0)
    assert harness.choose() is None, "slow and full"


def test_latency_trip_is_published_to_other_processes() -> None:
    updates = PendingUpdates()
    harness = RoutingHarness([stub_deployment("only")], pending_updates=updates)
    estimate = CostEstimate(100, 100, 100)
    for seconds in [0.5] * 40 + [40.0] * 5:
        selection = harness.choose(estimate)
        assert selection is not None
        reservation = harness.load_balancer.reserve(selection, estimate)
        harness.clock.advance(seconds)
        harness.load_balancer.record_success(reservation)
        harness.load_balancer.settle(reservation, Usage(100, 100))
    assert harness.deployment_state("only").breaker.reason == "slow"
    assert updates.changed_ids == {"only/m"}, "other processes receive it"
    assert harness.count_selections() == {"only": 200}, "there is no other deployment"


def test_calls_in_flight_count_as_load() -> None:
    harness = RoutingHarness([stub_deployment("busy", None), stub_deployment("idle", None)])
    harness.load_balancer.route_state(harness.route)
    harness.deployment_state("busy").in_flight = 5
    assert harness.count_selections()["idle"] > 190


def test_prefix_affinity() -> None:
    harness = RoutingHarness([stub_deployment(f"d{i}") for i in range(9)])
    estimate = CostEstimate(5000, 100, 100, prefixes=((42, 4096.0),))
    selection = harness.choose(estimate)
    assert selection is not None
    reservation = harness.load_balancer.reserve(selection, estimate)
    harness.load_balancer.record_success(reservation)
    harness.load_balancer.settle(reservation, Usage(5000, 100))
    served = selection.deployment.id.split("/")[0]
    assert harness.count_selections(cost=estimate)[served] > 190
    harness.clock.advance(301)
    assert harness.count_selections(cost=estimate).get(served, 0) < 100, (
        "the vendor's cache has expired too"
    )


def test_full_deployment_is_not_selected_for_its_cached_prefix() -> None:
    harness = RoutingHarness([stub_deployment("a"), stub_deployment("b"), stub_deployment("c")])
    estimate = CostEstimate(5000, 100, 100, prefixes=((42, 4096.0),))
    harness.deployment_state("a").record_prefixes(estimate.prefixes, harness.clock())
    fill_bucket(harness, "a", 1.1)
    assert set(harness.count_selections(cost=estimate)) == {"b", "c"}


def test_cached_prefix_is_not_charged() -> None:
    harness = RoutingHarness([stub_deployment("a")])
    estimate = CostEstimate(5000, 100, 100, prefixes=((42, 4096.0),))
    costs = []
    for _ in range(2):
        selection = harness.choose(estimate)
        assert selection is not None
        reservation = harness.load_balancer.reserve(selection, estimate)
        costs.append(reservation.cost)
        harness.load_balancer.record_success(reservation)
        harness.load_balancer.settle(reservation)
    assert costs == [5300, 5300 - 4096]


def test_prefix_memory_is_bounded() -> None:
    state = RoutingHarness([stub_deployment("a")])
    state.load_balancer.route_state(state.route)
    it = state.deployment_state("a")
    for key in range(400):
        it.record_prefixes(((key, 1.0),), 0.0)
    assert it.cached_prefix_tokens(((0, 1.0),), 1.0) == 0.0
    assert it.cached_prefix_tokens(((399, 1.0),), 1.0) == 1.0


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (
            lambda harness: harness.deployment_state("a").cool_down(5.0, harness.clock()),
            "cooling down",
        ),
        (
            lambda harness: harness.deployment_state("a").breaker.open(
                "config", harness.clock(), 60
            ),
            "breaker open",
        ),
        (lambda harness: setattr(harness.deployment_state("a"), "in_flight", 2), "as many calls"),
    ],
)
def test_rejection_reason(change, reason: str) -> None:
    harness = RoutingHarness([stub_deployment("a", max_in_flight=2)], [stub_deployment("b")])
    change(harness)
    assert harness.count_selections() == {"b": 200}
    route_state = harness.load_balancer.route_state(harness.route)
    first = route_state.tiers[0].candidates[0]
    assert reason in (
        harness.load_balancer.build_context(CostEstimate()).rejection_reason(first) or ""
    )


def test_tried_deployments_are_not_selected_again() -> None:
    harness = RoutingHarness([stub_deployment("a"), stub_deployment("b")])
    assert harness.choose(tried=frozenset({"a/m"})).deployment.id == "b/m"  # type: ignore[union-attr]
    assert harness.choose(tried=frozenset({"a/m", "b/m"})) is None


def test_features_and_context_window_are_hard_limits() -> None:
    plain = stub_deployment("plain", card=ModelCard(features=frozenset(), context_window=1000))
    able = stub_deployment(
        "able", card=ModelCard(features=frozenset({Feature.TOOLS}), context_window=9000)
    )
    harness = RoutingHarness([plain, able])
    assert harness.count_selections(cost=CostEstimate(features=frozenset({Feature.TOOLS}))) == {
        "able": 200
    }
    assert harness.count_selections(cost=CostEstimate(5000)) == {"able": 200}
    assert harness.choose(CostEstimate(50_000)) is None
    route_state = harness.load_balancer.route_state(harness.route)
    assert (
        harness.load_balancer.earliest_room(
            route_state, harness.load_balancer.build_context(CostEstimate(50_000))
        )
        is None
    )


def test_residency_holds_in_panic_mode() -> None:
    rows = [
        stub_deployment("seoul", region="kr"),
        stub_deployment("lyon", region="fr", data_zone="eu"),
        stub_deployment("us"),
    ]
    harness = RoutingHarness(rows, residency=frozenset({"kr", "eu"}))
    assert set(harness.count_selections()) == {"seoul", "lyon"}
    for name in ("seoul", "lyon"):
        harness.deployment_state(name).breaker.open("failures", harness.clock())
    harness.load_balancer._tripped_ids |= {"seoul/m", "lyon/m"}
    assert set(harness.count_selections()) == {"seoul", "lyon"}


def test_a_cooldown_never_shortens() -> None:
    harness = RoutingHarness([stub_deployment("a")], [stub_deployment("b")])
    state = harness.deployment_state("a")
    for seconds in (60.0, 1.0):
        state.cool_down(seconds, harness.clock())
    assert state.cooldown_until == harness.clock() + 60
    for seconds in (1.0, 90.0):
        state.cool_down(seconds, harness.clock())
    assert state.cooldown_until == harness.clock() + 90


def record_failures(
    harness: RoutingHarness, name: str, error: errors.ProviderError, times: int = 1
) -> None:
    """Attempts on one deployment that fail."""
    route_state = harness.load_balancer.route_state(harness.route)
    found = [(i, m) for i, tier in enumerate(route_state.tiers) for m in tier.candidates]
    i, it = next(row for row in found if row[1].deployment.id == f"{name}/m")
    for _ in range(times):
        reservation = harness.load_balancer.reserve(Selection(it, i), CostEstimate(100, 100))
        harness.load_balancer.record_failure(reservation, error)
        harness.load_balancer.settle(reservation, Usage(0, 0))


def test_breaker_opens_after_three_failures_and_closes_by_probes() -> None:
    harness = RoutingHarness([stub_deployment("a"), stub_deployment("b")])
    record_failures(harness, "a", errors.UpstreamUnavailable("down"), 3)
    assert harness.count_selections() == {"b": 200}
    harness.clock.advance(11.5)
    selection = harness.choose()
    assert selection is not None
    assert (selection.deployment.id, selection.is_probe) == ("a/m", True)
    assert harness.count_selections() == {"b": 200}, "one probe at a time"
    reservation = harness.load_balancer.reserve(selection, CostEstimate(100, 100))
    harness.load_balancer.record_success(reservation)
    harness.load_balancer.settle(reservation)
    again = harness.choose()
    assert again is not None
    assert again.is_probe
    reservation = harness.load_balancer.reserve(again, CostEstimate(100, 100))
    harness.load_balancer.record_success(reservation)
    harness.load_balancer.settle(reservation)
    names = harness.count_selections()
    assert 0 < names["a"] < names["b"], "a slow start"


def test_probe_requires_lease() -> None:
    harness = RoutingHarness(
        [stub_deployment("a"), stub_deployment("b")], may_probe=lambda _: False
    )
    record_failures(harness, "a", errors.UpstreamUnavailable("down"), 3)
    harness.clock.advance(30)
    assert harness.count_selections() == {"b": 200}


def test_cancelled_probe_allows_another() -> None:
    harness = RoutingHarness([stub_deployment("a"), stub_deployment("b")])
    record_failures(harness, "a", errors.UpstreamUnavailable("down"), 3)
    harness.clock.advance(11.5)
    selection = harness.choose()
    assert selection is not None
    assert selection.is_probe
    harness.load_balancer.cancel(harness.load_balancer.reserve(selection, CostEstimate(100, 100)))
    assert harness.count_selections(20) == {"b": 20}
    harness.clock.advance(1.0)
    again = harness.choose()
    assert again is not None
    assert again.is_probe


def test_probe_that_its_hedge_overtook_late_has_failed() -> None:
    harness = RoutingHarness([stub_deployment("a"), stub_deployment("b")])
    record_failures(harness, "a", errors.UpstreamUnavailable("down"), 3)
    harness.clock.advance(11.5)
    selection = harness.choose()
    assert selection is not None
    reservation = harness.load_balancer.reserve(selection, CostEstimate(100, 100))
    harness.clock.advance(1.0)
    harness.load_balancer.cancel(reservation)
    assert harness.deployment_state("a").breaker.open_until > harness.clock() + 15


def test_auth_error_or_missing_model_opens_the_breaker_at_once() -> None:
    for error in (errors.UpstreamAuth("no"), errors.ModelMissing("no")):
        harness = RoutingHarness([stub_deployment("a"), stub_deployment("b")])
        record_failures(harness, "a", error)
        breaker = harness.deployment_state("a").breaker
        assert (breaker.reason, breaker.open_until) == ("config", harness.clock() + 300)


def test_exhausted_credit_ejects_quota_group() -> None:
    rows = [
        stub_deployment("a", quota_group="g"),
        stub_deployment("b", quota_group="g"),
        stub_deployment("c"),
    ]
    harness = RoutingHarness(rows)
    record_failures(harness, "a", errors.QuotaExhausted("insufficient_quota"))
    assert harness.count_selections() == {"c": 200}
    assert harness.deployment_state("b").breaker.open_until == harness.clock() + 900


def test_long_quota_wait_ejects_one_deployment() -> None:
    harness = RoutingHarness(
        [stub_deployment("a", quota_group="g"), stub_deployment("b", quota_group="g")]
    )
    record_failures(harness, "a", errors.QuotaExhausted("day", retry_after=86_400.0))
    assert harness.count_selections() == {"b": 200}
    assert harness.deployment_state("a").breaker.open_until == harness.clock() + 900


def test_overloaded_region_is_deprioritized() -> None:
    rows = [
        stub_deployment("kr1", region="kr"),
        stub_deployment("kr2", region="kr"),
        stub_deployment("jp", region="jp"),
    ]
    harness = RoutingHarness(rows)
    record_failures(
        harness, "kr1", errors.Overloaded("high estimate", upstream_status=429, retry_after=5.0)
    )
    names = harness.count_selections(1000)
    assert "kr1" not in names
    assert names["jp"] > 2 * names.get("kr2", 0)
    harness.clock.advance(11)
    assert harness.deployment_state("kr2").slowness_factor(harness.clock()) == 1.0


def test_overloaded_vendor_is_throttled() -> None:
    harness = RoutingHarness(
        [stub_deployment("a", vendor="one"), stub_deployment("b", vendor="one")],
        [stub_deployment("c", vendor="two")],
    )
    record_failures(harness, "a", errors.Overloaded("529", upstream_status=529), 10)
    assert harness.count_selections() == {"b": 200}, "ten calls say nothing of a vendor"
    record_failures(harness, "a", errors.Overloaded("529", upstream_status=529), 20)
    assert harness.count_selections()["c"] > 100


def test_503_without_retry_after_is_a_failure() -> None:
    harness = RoutingHarness([stub_deployment("a"), stub_deployment("b")])
    record_failures(harness, "a", errors.Overloaded("down", upstream_status=503), 3)
    state = harness.deployment_state("a")
    assert state.breaker.is_tripped
    assert state.cooldown_until == 0


def test_refusals_without_a_wait_back_off() -> None:
    harness = RoutingHarness([stub_deployment("a"), stub_deployment("b")])
    waits = []
    for _ in range(7):
        record_failures(harness, "a", errors.RateLimited("full"))
        waits.append(harness.deployment_state("a").cooldown_until - harness.clock())
        harness.clock.advance(waits[-1] + 30)
        harness.deployment_state("a").capacity_model = type(
            harness.deployment_state("a").capacity_model
        )(PTU, harness.clock())
    assert [round(w) for w in waits[:4]] in ([1, 2, 4, 8], [1, 2, 4, 9])
    assert max(waits) <= 33


def test_rate_limit_is_not_a_failure() -> None:
    harness = RoutingHarness([stub_deployment("a"), stub_deployment("b")])
    for _ in range(9):
        record_failures(harness, "a", errors.RateLimited("full", retry_after=0.05))
        harness.clock.advance(60)
    assert not harness.deployment_state("a").breaker.is_tripped


def test_request_error_changes_nothing() -> None:
    harness = RoutingHarness([stub_deployment("a")], [stub_deployment("b")])
    record_failures(harness, "a", errors.InvalidRequest("no"), 9)
    state = harness.deployment_state("a")
    assert not state.breaker.is_tripped
    assert state.cooldown_until == 0


def test_timeout_raises_slowness() -> None:
    harness = RoutingHarness([stub_deployment("a")], [stub_deployment("b")])
    selection = harness.choose()
    assert selection is not None
    reservation = harness.load_balancer.reserve(selection, CostEstimate(100, 100))
    harness.clock.advance(5.0)
    harness.load_balancer.record_failure(reservation, errors.UpstreamTimeout("late"))
    assert harness.deployment_state("a").slowness_factor(harness.clock()) > 5


def test_interrupted_response_is_half_a_failure() -> None:
    harness = RoutingHarness([stub_deployment("a")], [stub_deployment("b")])
    record_failures(harness, "a", errors.UpstreamUnavailable("cut", phase="stream"), 5)
    assert not harness.deployment_state("a").breaker.is_tripped
    record_failures(harness, "a", errors.EmptyAnswer("nothing"))
    assert harness.deployment_state("a").breaker.is_tripped


def test_panic_mode_ignores_failures_but_not_configuration_errors() -> None:
    harness = RoutingHarness([stub_deployment(f"d{i}") for i in range(4)])
    for i in range(3):
        record_failures(harness, f"d{i}", errors.UpstreamUnavailable("down"), 3)
    record_failures(harness, "d3", errors.UpstreamAuth("no"))
    assert set(harness.count_selections()) == {"d0", "d1", "d2"}


def test_healthy_lower_tier_is_preferred_to_panic_mode() -> None:
    harness = RoutingHarness([stub_deployment("a"), stub_deployment("b")], [stub_deployment("c")])
    for name in ("a", "b"):
        record_failures(harness, name, errors.UpstreamUnavailable("down"), 3)
    assert harness.count_selections() == {"c": 200}


def test_time_until_room_when_all_are_full() -> None:
    harness = RoutingHarness([stub_deployment("a"), stub_deployment("b")])
    harness.load_balancer.route_state(harness.route)
    harness.deployment_state("a").cool_down(7.0, harness.clock())
    fill_bucket(harness, "b", 1.2)
    estimate = CostEstimate(0, 1000)
    route_state, context = (
        harness.load_balancer.route_state(harness.route),
        harness.load_balancer.build_context(estimate),
    )
    wait = harness.load_balancer.earliest_room(route_state, context)
    assert isinstance(wait, RoomWait)
    assert wait.throttled
    assert wait.seconds == pytest.approx(7.0)
    least = harness.load_balancer.select_least_full(route_state, context)
    assert least is not None
    assert least.deployment.id == "b/m"


def test_unavailable_is_distinguished_from_full() -> None:
    harness = RoutingHarness([stub_deployment("a")])
    harness.load_balancer.route_state(harness.route)
    harness.deployment_state("a").breaker.open("config", harness.clock(), 300)
    route_state, context = (
        harness.load_balancer.route_state(harness.route),
        harness.load_balancer.build_context(CostEstimate()),
    )
    wait = harness.load_balancer.earliest_room(route_state, context)
    assert wait is not None
    assert (wait.seconds, wait.throttled) == (300.0, False)
    assert harness.load_balancer.select_least_full(route_state, context) is None


def test_spillover_success_does_not_credit_full_deployment() -> None:
    harness = RoutingHarness([stub_deployment("a")], [stub_deployment("b")])
    selection = harness.choose()
    assert selection is not None
    reservation = harness.load_balancer.reserve(selection, CostEstimate(100, 100))
    reservation.headroom = Headroom(spilled=True)
    harness.clock.advance(9.0)
    harness.load_balancer.record_success(reservation)
    harness.load_balancer.settle(reservation, Usage(100, 10))
    assert harness.deployment_state("a").slowness_factor(harness.clock()) == 1.0
    assert harness.count_selections(20) == {"b": 20}


def test_settled_attempt_releases_all_state() -> None:
    harness = RoutingHarness([stub_deployment("a")])
    selection = harness.choose()
    assert selection is not None
    reservation = harness.load_balancer.reserve(selection, CostEstimate(100, 100))
    harness.load_balancer.settle(reservation, Usage(0, 0))
    harness.load_balancer.settle(reservation, Usage(900, 900))
    state = harness.deployment_state("a")
    assert state.in_flight == 0
    assert state.capacity_model.fill(0, harness.clock()) == 0


def test_response_without_usage_costs_its_prompt_and_seen_tokens() -> None:
    harness = RoutingHarness([stub_deployment("a")])
    selection = harness.choose()
    assert selection is not None
    reservation = harness.load_balancer.reserve(selection, CostEstimate(600, 1000))
    harness.load_balancer.settle(reservation, None, seen_tokens=100)
    assert harness.deployment_state("a").capacity_model.fill(0, harness.clock()) == pytest.approx(
        900 / 30_000
    )


def test_charge_stays_if_the_counts_are_implausible() -> None:
    harness = RoutingHarness([stub_deployment("a")])
    selection = harness.choose(CostEstimate(600, 1000))
    assert selection is not None
    reservation = harness.load_balancer.reserve(selection, CostEstimate(600, 1000))
    harness.load_balancer.settle(reservation, Usage(10**9, 10**9), seen_tokens=10**9)
    state = harness.deployment_state("a")
    assert state.charged_tokens == reservation.cost
    assert state.capacity_model.fill(0, harness.clock()) == pytest.approx(reservation.cost / 30_000)


def test_state_survives_reload_and_new_capacity_resets() -> None:
    clock = ManualClock()
    fleet = LoadBalancer(clock)
    policy = RoutingHarness([stub_deployment("a")]).route.policy
    first = fleet.route_state(Route("r", "chat", ((stub_deployment("a"),),), policy))
    state = first.tiers[0].candidates[0].state
    state.cool_down(60, clock())
    state.capacity_model.reserve(20_000, clock())
    again = fleet.route_state(Route("r", "chat", ((stub_deployment("a"),),), policy))
    assert again is not first
    assert again.estimator is first.estimator
    assert again.tiers[0].candidates[0].state is state
    assert state.capacity_model.fill(0, clock()) > 0
    grown = ReservedThroughput(48, 2500, 3.0)
    fleet.route_state(Route("r", "chat", ((stub_deployment("a", grown),),), policy))
    assert state.capacity_model.fill(0, clock()) == 0
    assert state.cooldown_until == clock() + 60


def test_streaming_and_non_streaming_latency_are_separate() -> None:
    harness = RoutingHarness([stub_deployment("a")])
    streams = harness.load_balancer.route_state(harness.route)
    whole = harness.load_balancer.route_state(harness.route, stream=False)
    assert whole.retry_budget is streams.retry_budget
    member_, other = streams.tiers[0].candidates[0], whole.tiers[0].candidates[0]
    assert member_.state is other.state
    assert member_.latency_model is not other.latency_model
