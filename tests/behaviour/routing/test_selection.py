"""Which deployment is asked next, and why the others are not."""

import pytest

from hamlet.core import Feature, Headroom, ModelCard, Usage, errors
from hamlet.registry import Quota, ReservedThroughput, Route
from hamlet.routing import CostEstimate, LoadBalancer, PendingUpdates, RoomWait, Selection
from support.clock import ManualClock
from support.routing import PTU, RoutingHarness, stub_deployment


def fill_bucket(harness: RoutingHarness, name: str, share: float) -> None:
    """Use up that part of a deployment's bucket."""
    harness.deployment_state(name).capacity_model.reserve(30_000 * share, harness.clock())


def test_first_tier_with_room_is_selected() -> None:
    yard = RoutingHarness(
        [stub_deployment("home")],
        [stub_deployment("far")],
        [stub_deployment("paid", Quota(60_000, None))],
    )
    assert yard.count_selections() == {"home": 200}
    fill_bucket(yard, "home", 1.0)
    assert yard.count_selections() == {"far": 200}
    fill_bucket(yard, "far", 1.0)
    assert yard.count_selections() == {"paid": 200}


def test_what_must_not_be_shed_may_use_the_last_of_a_deployment() -> None:
    yard = RoutingHarness([stub_deployment("home")], [stub_deployment("far")])
    fill_bucket(yard, "home", 0.9)
    assert yard.count_selections(cost=CostEstimate(100, 100, sheddable=True)) == {"far": 200}
    assert yard.count_selections(cost=CostEstimate(100, 100)) == {"home": 200}


def test_selection_is_weighted_by_capacity() -> None:
    large = ReservedThroughput(96, 2500, 3.0)
    yard = RoutingHarness(
        [stub_deployment("small"), stub_deployment("large", large), stub_deployment("other")]
    )
    names = yard.count_selections(3000)
    assert names["large"] > 2 * names["small"] > 0


def test_less_loaded_of_two_is_selected() -> None:
    yard = RoutingHarness([stub_deployment("hot"), stub_deployment("cold")])
    fill_bucket(yard, "hot", 0.9)
    yard.deployment_state("cold").slowness.observe(5.0, yard.clock())
    names = yard.count_selections()
    assert names["cold"] > 190


def test_emptier_of_two_loaded_is_selected() -> None:
    yard = RoutingHarness([stub_deployment("a"), stub_deployment("b")])
    fill_bucket(yard, "a", 0.93)
    fill_bucket(yard, "b", 0.83)
    assert yard.count_selections()["b"] > 190


def test_faster_of_two_unloaded_is_selected() -> None:
    yard = RoutingHarness([stub_deployment("slow"), stub_deployment("quick")])
    yard.deployment_state("slow").slowness.observe(4.0, yard.clock())
    assert yard.count_selections()["quick"] > 190


def record_slow_answers(harness: RoutingHarness, name: str) -> None:
    """Two answers in a row that took far longer than expected."""
    harness.load_balancer.route_state(harness.route)
    for _ in range(2):
        harness.deployment_state(name).slowness.observe(9.0, harness.clock())


def test_outlier_is_skipped_while_others_have_room() -> None:
    yard = RoutingHarness([stub_deployment("slow")], [stub_deployment("far")])
    record_slow_answers(yard, "slow")
    assert yard.count_selections() == {"far": 200}


def test_outlier_is_selected_as_last_resort() -> None:
    yard = RoutingHarness([stub_deployment("slow")], [stub_deployment("far")])
    record_slow_answers(yard, "slow")
    fill_bucket(yard, "far", 1.0)
    assert yard.count_selections() == {"slow": 200}
    fill_bucket(yard, "slow", 1.0)
    assert yard.choose() is None, "slow and full"


def test_latency_trip_is_published_to_other_processes() -> None:
    updates = PendingUpdates()
    yard = RoutingHarness([stub_deployment("only")], pending_updates=updates)
    demand = CostEstimate(100, 100, 100)
    for seconds in [0.5] * 40 + [40.0] * 5:
        choice = yard.choose(demand)
        assert choice is not None
        booking = yard.load_balancer.reserve(choice, demand)
        yard.clock.advance(seconds)
        yard.load_balancer.record_success(booking)
        yard.load_balancer.settle(booking, Usage(100, 100))
    assert yard.deployment_state("only").breaker.reason == "slow"
    assert updates.changed_ids == {"only/m"}, "other processes receive it"
    assert yard.count_selections() == {"only": 200}, "there is nobody else to ask"


def test_calls_under_way_count_as_load() -> None:
    yard = RoutingHarness([stub_deployment("busy", None), stub_deployment("idle", None)])
    yard.load_balancer.route_state(yard.route)
    yard.deployment_state("busy").in_flight = 5
    assert yard.count_selections()["idle"] > 190


def test_prefix_affinity() -> None:
    yard = RoutingHarness([stub_deployment(f"d{i}") for i in range(9)])
    demand = CostEstimate(5000, 100, 100, prefixes=((42, 4096.0),))
    choice = yard.choose(demand)
    assert choice is not None
    booking = yard.load_balancer.reserve(choice, demand)
    yard.load_balancer.record_success(booking)
    yard.load_balancer.settle(booking, Usage(5000, 100))
    served = choice.deployment.id.split("/")[0]
    assert yard.count_selections(cost=demand)[served] > 190
    yard.clock.advance(301)
    assert yard.count_selections(cost=demand).get(served, 0) < 100, (
        "the vendor has forgotten it too"
    )


def test_cached_prefix_is_not_charged() -> None:
    yard = RoutingHarness([stub_deployment("a")])
    demand = CostEstimate(5000, 100, 100, prefixes=((42, 4096.0),))
    costs = []
    for _ in range(2):
        choice = yard.choose(demand)
        assert choice is not None
        booking = yard.load_balancer.reserve(choice, demand)
        costs.append(booking.cost)
        yard.load_balancer.record_success(booking)
        yard.load_balancer.settle(booking)
    assert costs == [5300, 5300 - 4096]


def test_prefix_memory_is_bounded() -> None:
    condition = RoutingHarness([stub_deployment("a")])
    condition.load_balancer.route_state(condition.route)
    it = condition.deployment_state("a")
    for key in range(400):
        it.record_prefixes(((key, 1.0),), 0.0)
    assert it.cached_prefix_tokens(((0, 1.0),), 1.0) == 0.0
    assert it.cached_prefix_tokens(((399, 1.0),), 1.0) == 1.0


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda yard: yard.deployment_state("a").cool_down(5.0, yard.clock()), "cooling down"),
        (
            lambda yard: yard.deployment_state("a").breaker.open("config", yard.clock(), 60),
            "breaker open",
        ),
        (lambda yard: setattr(yard.deployment_state("a"), "in_flight", 2), "as many calls"),
    ],
)
def test_rejection_reason(change, reason: str) -> None:
    yard = RoutingHarness([stub_deployment("a", max_in_flight=2)], [stub_deployment("b")])
    change(yard)
    assert yard.count_selections() == {"b": 200}
    traffic = yard.load_balancer.route_state(yard.route)
    first = traffic.tiers[0].candidates[0]
    assert reason in (
        yard.load_balancer.build_context(CostEstimate()).rejection_reason(first) or ""
    )


def test_what_was_tried_is_not_asked_again() -> None:
    yard = RoutingHarness([stub_deployment("a"), stub_deployment("b")])
    assert yard.choose(tried=frozenset({"a/m"})).deployment.id == "b/m"  # type: ignore[union-attr]
    assert yard.choose(tried=frozenset({"a/m", "b/m"})) is None


def test_capability_and_size_are_hard_limits() -> None:
    plain = stub_deployment("plain", card=ModelCard(features=frozenset(), context_window=1000))
    able = stub_deployment(
        "able", card=ModelCard(features=frozenset({Feature.TOOLS}), context_window=9000)
    )
    yard = RoutingHarness([plain, able])
    assert yard.count_selections(cost=CostEstimate(features=frozenset({Feature.TOOLS}))) == {
        "able": 200
    }
    assert yard.count_selections(cost=CostEstimate(5000)) == {"able": 200}
    assert yard.choose(CostEstimate(50_000)) is None
    traffic = yard.load_balancer.route_state(yard.route)
    assert (
        yard.load_balancer.earliest_room(
            traffic, yard.load_balancer.build_context(CostEstimate(50_000))
        )
        is None
    )


def test_data_stays_in_its_region_or_zone_even_in_a_panic() -> None:
    rows = [
        stub_deployment("seoul", region="kr"),
        stub_deployment("lyon", region="fr", data_zone="eu"),
        stub_deployment("us"),
    ]
    yard = RoutingHarness(rows, residency=frozenset({"kr", "eu"}))
    assert set(yard.count_selections()) == {"seoul", "lyon"}
    for name in ("seoul", "lyon"):
        yard.deployment_state(name).breaker.open("failures", yard.clock())
    yard.load_balancer._tripped_ids |= {"seoul/m", "lyon/m"}
    assert set(yard.count_selections()) == {"seoul", "lyon"}


def test_a_cooldown_never_shortens() -> None:
    yard = RoutingHarness([stub_deployment("a")], [stub_deployment("b")])
    condition = yard.deployment_state("a")
    for seconds in (60.0, 1.0):
        condition.cool_down(seconds, yard.clock())
    assert condition.cooldown_until == yard.clock() + 60
    for seconds in (1.0, 90.0):
        condition.cool_down(seconds, yard.clock())
    assert condition.cooldown_until == yard.clock() + 90


def record_failures(
    harness: RoutingHarness, name: str, error: errors.ProviderError, times: int = 1
) -> None:
    """Attempts on one deployment that fail."""
    traffic = harness.load_balancer.route_state(harness.route)
    found = [(i, m) for i, tier in enumerate(traffic.tiers) for m in tier.candidates]
    i, it = next(row for row in found if row[1].deployment.id == f"{name}/m")
    for _ in range(times):
        booking = harness.load_balancer.reserve(Selection(it, i), CostEstimate(100, 100))
        harness.load_balancer.record_failure(booking, error)
        harness.load_balancer.settle(booking, Usage(0, 0))


def test_a_failing_deployment_is_out_after_three_and_comes_back_by_a_probe() -> None:
    yard = RoutingHarness([stub_deployment("a"), stub_deployment("b")])
    record_failures(yard, "a", errors.UpstreamUnavailable("down"), 3)
    assert yard.count_selections() == {"b": 200}
    yard.clock.advance(11.5)
    choice = yard.choose()
    assert choice is not None
    assert (choice.deployment.id, choice.is_probe) == ("a/m", True)
    assert yard.count_selections() == {"b": 200}, "one probe at a time"
    booking = yard.load_balancer.reserve(choice, CostEstimate(100, 100))
    yard.load_balancer.record_success(booking)
    yard.load_balancer.settle(booking)
    again = yard.choose()
    assert again is not None
    assert again.is_probe
    booking = yard.load_balancer.reserve(again, CostEstimate(100, 100))
    yard.load_balancer.record_success(booking)
    yard.load_balancer.settle(booking)
    names = yard.count_selections()
    assert 0 < names["a"] < names["b"], "a slow start"


def test_probe_requires_lease() -> None:
    yard = RoutingHarness([stub_deployment("a"), stub_deployment("b")], may_probe=lambda _: False)
    record_failures(yard, "a", errors.UpstreamUnavailable("down"), 3)
    yard.clock.advance(30)
    assert yard.count_selections() == {"b": 200}


def test_a_cancelled_probe_frees_its_place() -> None:
    yard = RoutingHarness([stub_deployment("a"), stub_deployment("b")])
    record_failures(yard, "a", errors.UpstreamUnavailable("down"), 3)
    yard.clock.advance(11.5)
    choice = yard.choose()
    assert choice is not None
    assert choice.is_probe
    yard.load_balancer.cancel(yard.load_balancer.reserve(choice, CostEstimate(100, 100)))
    assert yard.count_selections(20) == {"b": 20}
    yard.clock.advance(1.0)
    again = yard.choose()
    assert again is not None
    assert again.is_probe


def test_a_probe_that_its_backup_overtook_was_too_slow() -> None:
    yard = RoutingHarness([stub_deployment("a"), stub_deployment("b")])
    record_failures(yard, "a", errors.UpstreamUnavailable("down"), 3)
    yard.clock.advance(11.5)
    choice = yard.choose()
    assert choice is not None
    booking = yard.load_balancer.reserve(choice, CostEstimate(100, 100))
    yard.clock.advance(1.0)
    yard.load_balancer.cancel(booking)
    assert yard.deployment_state("a").breaker.open_until > yard.clock() + 15


def test_a_refused_key_or_a_missing_model_takes_a_deployment_out_at_once() -> None:
    for error in (errors.UpstreamAuth("no"), errors.ModelMissing("no")):
        yard = RoutingHarness([stub_deployment("a"), stub_deployment("b")])
        record_failures(yard, "a", error)
        breaker = yard.deployment_state("a").breaker
        assert (breaker.reason, breaker.open_until) == ("config", yard.clock() + 300)


def test_exhausted_credit_ejects_quota_group() -> None:
    rows = [
        stub_deployment("a", quota_group="g"),
        stub_deployment("b", quota_group="g"),
        stub_deployment("c"),
    ]
    yard = RoutingHarness(rows)
    record_failures(yard, "a", errors.QuotaExhausted("insufficient_quota"))
    assert yard.count_selections() == {"c": 200}
    assert yard.deployment_state("b").breaker.open_until == yard.clock() + 900


def test_long_quota_wait_ejects_one_deployment() -> None:
    yard = RoutingHarness(
        [stub_deployment("a", quota_group="g"), stub_deployment("b", quota_group="g")]
    )
    record_failures(yard, "a", errors.QuotaExhausted("day", retry_after=86_400.0))
    assert yard.count_selections() == {"b": 200}
    assert yard.deployment_state("a").breaker.open_until == yard.clock() + 900


def test_overloaded_region_is_deprioritized() -> None:
    rows = [
        stub_deployment("kr1", region="kr"),
        stub_deployment("kr2", region="kr"),
        stub_deployment("jp", region="jp"),
    ]
    yard = RoutingHarness(rows)
    record_failures(
        yard, "kr1", errors.Overloaded("high demand", upstream_status=429, retry_after=5.0)
    )
    names = yard.count_selections(1000)
    assert "kr1" not in names
    assert names["jp"] > 2 * names.get("kr2", 0)
    yard.clock.advance(11)
    assert yard.deployment_state("kr2").slowness_factor(yard.clock()) == 1.0


def test_overloaded_vendor_is_throttled() -> None:
    yard = RoutingHarness(
        [stub_deployment("a", vendor="one"), stub_deployment("b", vendor="one")],
        [stub_deployment("c", vendor="two")],
    )
    record_failures(yard, "a", errors.Overloaded("529", upstream_status=529), 10)
    assert yard.count_selections() == {"b": 200}, "ten calls say nothing of a vendor"
    record_failures(yard, "a", errors.Overloaded("529", upstream_status=529), 20)
    assert yard.count_selections()["c"] > 100


def test_a_plain_503_is_a_failure_and_no_cooldown() -> None:
    yard = RoutingHarness([stub_deployment("a"), stub_deployment("b")])
    record_failures(yard, "a", errors.Overloaded("down", upstream_status=503), 3)
    condition = yard.deployment_state("a")
    assert condition.breaker.is_tripped
    assert condition.cooldown_until == 0


def test_refusals_without_a_wait_back_off() -> None:
    yard = RoutingHarness([stub_deployment("a"), stub_deployment("b")])
    waits = []
    for _ in range(7):
        record_failures(yard, "a", errors.RateLimited("full"))
        waits.append(yard.deployment_state("a").cooldown_until - yard.clock())
        yard.clock.advance(waits[-1] + 30)
        yard.deployment_state("a").capacity_model = type(yard.deployment_state("a").capacity_model)(
            PTU, yard.clock()
        )
    assert [round(w) for w in waits[:4]] in ([1, 2, 4, 8], [1, 2, 4, 9])
    assert max(waits) <= 33


def test_a_refusal_is_no_failure() -> None:
    yard = RoutingHarness([stub_deployment("a"), stub_deployment("b")])
    for _ in range(9):
        record_failures(yard, "a", errors.RateLimited("full", retry_after=0.05))
        yard.clock.advance(60)
    assert not yard.deployment_state("a").breaker.is_tripped


def test_the_callers_fault_changes_nothing() -> None:
    yard = RoutingHarness([stub_deployment("a")], [stub_deployment("b")])
    record_failures(yard, "a", errors.InvalidRequest("no"), 9)
    condition = yard.deployment_state("a")
    assert not condition.breaker.is_tripped
    assert condition.cooldown_until == 0


def test_a_timeout_counts_as_slow_too() -> None:
    yard = RoutingHarness([stub_deployment("a")], [stub_deployment("b")])
    choice = yard.choose()
    assert choice is not None
    booking = yard.load_balancer.reserve(choice, CostEstimate(100, 100))
    yard.clock.advance(5.0)
    yard.load_balancer.record_failure(booking, errors.UpstreamTimeout("late"))
    assert yard.deployment_state("a").slowness_factor(yard.clock()) > 5


def test_an_interrupted_answer_is_half_a_failure() -> None:
    yard = RoutingHarness([stub_deployment("a")], [stub_deployment("b")])
    record_failures(yard, "a", errors.UpstreamUnavailable("cut", phase="stream"), 5)
    assert not yard.deployment_state("a").breaker.is_tripped
    record_failures(yard, "a", errors.EmptyAnswer("nothing"))
    assert yard.deployment_state("a").breaker.is_tripped


def test_when_most_are_out_everywhere_failures_are_ignored_but_not_faults_of_config() -> None:
    yard = RoutingHarness([stub_deployment(f"d{i}") for i in range(4)])
    for i in range(3):
        record_failures(yard, f"d{i}", errors.UpstreamUnavailable("down"), 3)
    record_failures(yard, "d3", errors.UpstreamAuth("no"))
    assert set(yard.count_selections()) == {"d0", "d1", "d2"}


def test_healthy_lower_tier_is_preferred_to_panic_mode() -> None:
    yard = RoutingHarness([stub_deployment("a"), stub_deployment("b")], [stub_deployment("c")])
    for name in ("a", "b"):
        record_failures(yard, name, errors.UpstreamUnavailable("down"), 3)
    assert yard.count_selections() == {"c": 200}


def test_a_full_fleet_says_when_there_will_be_room() -> None:
    yard = RoutingHarness([stub_deployment("a"), stub_deployment("b")])
    yard.load_balancer.route_state(yard.route)
    yard.deployment_state("a").cool_down(7.0, yard.clock())
    fill_bucket(yard, "b", 1.2)
    demand = CostEstimate(0, 1000)
    traffic, look = (
        yard.load_balancer.route_state(yard.route),
        yard.load_balancer.build_context(demand),
    )
    wait = yard.load_balancer.earliest_room(traffic, look)
    assert isinstance(wait, RoomWait)
    assert wait.throttled
    assert wait.seconds == pytest.approx(7.0)
    least = yard.load_balancer.select_least_full(traffic, look)
    assert least is not None
    assert least.deployment.id == "b/m"


def test_unavailable_is_distinguished_from_full() -> None:
    yard = RoutingHarness([stub_deployment("a")])
    yard.load_balancer.route_state(yard.route)
    yard.deployment_state("a").breaker.open("config", yard.clock(), 300)
    traffic, look = (
        yard.load_balancer.route_state(yard.route),
        yard.load_balancer.build_context(CostEstimate()),
    )
    wait = yard.load_balancer.earliest_room(traffic, look)
    assert wait is not None
    assert (wait.seconds, wait.throttled) == (300.0, False)
    assert yard.load_balancer.select_least_full(traffic, look) is None


def test_spillover_success_does_not_credit_full_deployment() -> None:
    yard = RoutingHarness([stub_deployment("a")], [stub_deployment("b")])
    choice = yard.choose()
    assert choice is not None
    booking = yard.load_balancer.reserve(choice, CostEstimate(100, 100))
    booking.headroom = Headroom(spilled=True)
    yard.clock.advance(9.0)
    yard.load_balancer.record_success(booking)
    yard.load_balancer.settle(booking, Usage(100, 10))
    assert yard.deployment_state("a").slowness_factor(yard.clock()) == 1.0
    assert yard.count_selections(20) == {"b": 20}


def test_settled_attempt_releases_all_state() -> None:
    yard = RoutingHarness([stub_deployment("a")])
    choice = yard.choose()
    assert choice is not None
    booking = yard.load_balancer.reserve(choice, CostEstimate(100, 100))
    yard.load_balancer.settle(booking, Usage(0, 0))
    yard.load_balancer.settle(booking, Usage(900, 900))
    condition = yard.deployment_state("a")
    assert condition.in_flight == 0
    assert condition.capacity_model.fill(0, yard.clock()) == 0


def test_an_answer_without_usage_costs_its_prompt_and_what_was_seen() -> None:
    yard = RoutingHarness([stub_deployment("a")])
    choice = yard.choose()
    assert choice is not None
    booking = yard.load_balancer.reserve(choice, CostEstimate(600, 1000))
    yard.load_balancer.settle(booking, None, seen_tokens=100)
    assert yard.deployment_state("a").capacity_model.fill(0, yard.clock()) == pytest.approx(
        900 / 30_000
    )


def test_state_survives_reload_and_new_capacity_resets() -> None:
    clock = ManualClock()
    fleet = LoadBalancer(clock)
    policy = RoutingHarness([stub_deployment("a")]).route.policy
    first = fleet.route_state(Route("r", "chat", ((stub_deployment("a"),),), policy))
    condition = first.tiers[0].candidates[0].state
    condition.cool_down(60, clock())
    condition.capacity_model.reserve(20_000, clock())
    again = fleet.route_state(Route("r", "chat", ((stub_deployment("a"),),), policy))
    assert again is not first
    assert again.estimator is first.estimator
    assert again.tiers[0].candidates[0].state is condition
    assert condition.capacity_model.fill(0, clock()) > 0
    grown = ReservedThroughput(48, 2500, 3.0)
    fleet.route_state(Route("r", "chat", ((stub_deployment("a", grown),),), policy))
    assert condition.capacity_model.fill(0, clock()) == 0
    assert condition.cooldown_until == clock() + 60


def test_streaming_and_non_streaming_latency_are_separate() -> None:
    yard = RoutingHarness([stub_deployment("a")])
    streams = yard.load_balancer.route_state(yard.route)
    whole = yard.load_balancer.route_state(yard.route, stream=False)
    assert whole.retry_budget is streams.retry_budget
    member_, other = streams.tiers[0].candidates[0], whole.tiers[0].candidates[0]
    assert member_.state is other.state
    assert member_.latency_model is not other.latency_model
