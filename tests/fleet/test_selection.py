"""Which deployment is asked next, and why the others are not."""

import pytest

from hamlet.core import Feature, Headroom, ModelCard, Usage, errors
from hamlet.registry import Quota, Reserved, Route
from hamlet.routing import Choice, Demand, Fleet, Wait
from hamlet.routing.load_balancer import News
from support.fleets import PTU, Clock, Yard, member


def fill(yard: Yard, name: str, share: float) -> None:
    """Use up that part of a deployment's bucket."""
    yard.condition(name).ledger.book(30_000 * share, yard.clock())


def test_the_first_tier_with_room_is_asked() -> None:
    yard = Yard([member("home")], [member("far")], [member("paid", Quota(60_000, None))])
    assert yard.names() == {"home": 200}
    fill(yard, "home", 1.0)
    assert yard.names() == {"far": 200}
    fill(yard, "far", 1.0)
    assert yard.names() == {"paid": 200}


def test_what_must_not_be_shed_may_use_the_last_of_a_deployment() -> None:
    yard = Yard([member("home")], [member("far")])
    fill(yard, "home", 0.9)
    assert yard.names(demand=Demand(100, 100, sheddable=True)) == {"far": 200}
    assert yard.names(demand=Demand(100, 100)) == {"home": 200}


def test_draws_follow_capacity() -> None:
    large = Reserved(96, 2500, 3.0)
    yard = Yard([member("small"), member("large", large), member("other")])
    names = yard.names(3000)
    assert names["large"] > 2 * names["small"] > 0


def test_of_a_hot_and_a_cold_one_the_cold_is_asked() -> None:
    yard = Yard([member("hot"), member("cold")])
    fill(yard, "hot", 0.9)
    yard.condition("cold").slowness.sample(5.0, yard.clock())
    names = yard.names()
    assert names["cold"] > 190


def test_of_two_hot_ones_the_emptier_is_asked() -> None:
    yard = Yard([member("a"), member("b")])
    fill(yard, "a", 0.93)
    fill(yard, "b", 0.83)
    assert yard.names()["b"] > 190


def test_of_two_cold_ones_the_quicker_is_asked() -> None:
    yard = Yard([member("slow"), member("quick")])
    yard.condition("slow").slowness.sample(4.0, yard.clock())
    assert yard.names()["quick"] > 190


def slow_for_good(yard: Yard, name: str) -> None:
    """Two answers in a row that took far longer than expected."""
    yard.fleet.traffic(yard.route)
    for _ in range(2):
        yard.condition(name).slowness.sample(9.0, yard.clock())


def test_who_is_slow_for_good_is_left_out_while_anybody_else_has_room() -> None:
    yard = Yard([member("slow")], [member("far")])
    slow_for_good(yard, "slow")
    assert yard.names() == {"far": 200}


def test_somebody_slow_is_asked_before_nobody_is() -> None:
    yard = Yard([member("slow")], [member("far")])
    slow_for_good(yard, "slow")
    fill(yard, "far", 1.0)
    assert yard.names() == {"slow": 200}
    fill(yard, "slow", 1.0)
    assert yard.choose() is None, "slow and full"


def test_answers_that_open_a_breaker_are_no_secret() -> None:
    yard = Yard([member("only")])
    yard.fleet.news = News()
    demand = Demand(100, 100, 100)
    for seconds in [0.5] * 40 + [40.0] * 5:
        choice = yard.choose(demand)
        assert choice is not None
        booking = yard.fleet.begin(choice, demand)
        yard.clock.tick(seconds)
        yard.fleet.succeeded(booking)
        yard.fleet.settle(booking, Usage(100, 100))
    assert yard.condition("only").breaker.reason == "slow"
    assert yard.fleet.news.touched == {"only/m"}, "other processes hear of it"
    assert yard.names() == {"only": 200}, "there is nobody else to ask"


def test_calls_under_way_count_as_load() -> None:
    yard = Yard([member("busy", None), member("idle", None)])
    yard.fleet.traffic(yard.route)
    yard.condition("busy").in_flight = 5
    assert yard.names()["idle"] > 190


def test_a_prompt_goes_where_its_beginning_was_served() -> None:
    yard = Yard([member(f"d{i}") for i in range(9)])
    demand = Demand(5000, 100, 100, prefixes=((42, 4096.0),))
    choice = yard.choose(demand)
    assert choice is not None
    booking = yard.fleet.begin(choice, demand)
    yard.fleet.succeeded(booking)
    yard.fleet.settle(booking, Usage(5000, 100))
    served = choice.deployment.id.split("/")[0]
    assert yard.names(demand=demand)[served] > 190
    yard.clock.tick(301)
    assert yard.names(demand=demand).get(served, 0) < 100, "the vendor has forgotten it too"


def test_a_cached_beginning_is_not_charged_again() -> None:
    yard = Yard([member("a")])
    demand = Demand(5000, 100, 100, prefixes=((42, 4096.0),))
    costs = []
    for _ in range(2):
        choice = yard.choose(demand)
        assert choice is not None
        booking = yard.fleet.begin(choice, demand)
        costs.append(booking.cost)
        yard.fleet.succeeded(booking)
        yard.fleet.settle(booking)
    assert costs == [5300, 5300 - 4096]


def test_only_so_many_beginnings_are_remembered() -> None:
    condition = Yard([member("a")])
    condition.fleet.traffic(condition.route)
    it = condition.condition("a")
    for key in range(400):
        it.remember(((key, 1.0),), 0.0)
    assert it.remembers(((0, 1.0),), 1.0) == 0.0
    assert it.remembers(((399, 1.0),), 1.0) == 1.0


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda yard: yard.condition("a").cool_down(5.0, yard.clock()), "cooling down"),
        (lambda yard: yard.condition("a").breaker.open("config", yard.clock(), 60), "breaker open"),
        (lambda yard: setattr(yard.condition("a"), "in_flight", 2), "as many calls"),
    ],
)
def test_a_deployment_is_left_out_for_a_reason(change, reason: str) -> None:
    yard = Yard([member("a", max_in_flight=2)], [member("b")])
    change(yard)
    assert yard.names() == {"b": 200}
    traffic = yard.fleet.traffic(yard.route)
    first = traffic.tiers[0].members[0]
    assert reason in (yard.fleet.look(Demand()).barred(first) or "")


def test_what_was_tried_is_not_asked_again() -> None:
    yard = Yard([member("a"), member("b")])
    assert yard.choose(tried=frozenset({"a/m"})).deployment.id == "b/m"  # type: ignore[union-attr]
    assert yard.choose(tried=frozenset({"a/m", "b/m"})) is None


def test_capability_and_size_are_hard_limits() -> None:
    plain = member("plain", card=ModelCard(features=frozenset(), context_window=1000))
    able = member("able", card=ModelCard(features=frozenset({Feature.TOOLS}), context_window=9000))
    yard = Yard([plain, able])
    assert yard.names(demand=Demand(features=frozenset({Feature.TOOLS}))) == {"able": 200}
    assert yard.names(demand=Demand(5000)) == {"able": 200}
    assert yard.choose(Demand(50_000)) is None
    traffic = yard.fleet.traffic(yard.route)
    assert yard.fleet.earliest(traffic, yard.fleet.look(Demand(50_000))) is None


def test_data_stays_in_its_region_or_zone_even_in_a_panic() -> None:
    rows = [member("seoul", region="kr"), member("lyon", region="fr", data_zone="eu"), member("us")]
    yard = Yard(rows, residency=frozenset({"kr", "eu"}))
    assert set(yard.names()) == {"seoul", "lyon"}
    for name in ("seoul", "lyon"):
        yard.condition(name).breaker.open("failures", yard.clock())
    yard.fleet._opened |= {"seoul/m", "lyon/m"}
    assert set(yard.names()) == {"seoul", "lyon"}


def test_a_cooldown_never_shortens() -> None:
    yard = Yard([member("a")], [member("b")])
    condition = yard.condition("a")
    for seconds in (60.0, 1.0):
        condition.cool_down(seconds, yard.clock())
    assert condition.cooldown_until == yard.clock() + 60
    for seconds in (1.0, 90.0):
        condition.cool_down(seconds, yard.clock())
    assert condition.cooldown_until == yard.clock() + 90


def fail(yard: Yard, name: str, error: errors.ProviderError, times: int = 1) -> None:
    """Attempts on one deployment that fail."""
    traffic = yard.fleet.traffic(yard.route)
    found = [(i, m) for i, tier in enumerate(traffic.tiers) for m in tier.members]
    i, it = next(row for row in found if row[1].deployment.id == f"{name}/m")
    for _ in range(times):
        booking = yard.fleet.begin(Choice(it, i), Demand(100, 100))
        yard.fleet.failed(booking, error)
        yard.fleet.settle(booking, Usage(0, 0))


def test_a_failing_deployment_is_out_after_three_and_comes_back_by_a_probe() -> None:
    yard = Yard([member("a"), member("b")])
    fail(yard, "a", errors.UpstreamUnavailable("down"), 3)
    assert yard.names() == {"b": 200}
    yard.clock.tick(11.5)
    choice = yard.choose()
    assert choice is not None
    assert (choice.deployment.id, choice.probe) == ("a/m", True)
    assert yard.names() == {"b": 200}, "one probe at a time"
    booking = yard.fleet.begin(choice, Demand(100, 100))
    yard.fleet.succeeded(booking)
    yard.fleet.settle(booking)
    again = yard.choose()
    assert again is not None
    assert again.probe
    booking = yard.fleet.begin(again, Demand(100, 100))
    yard.fleet.succeeded(booking)
    yard.fleet.settle(booking)
    names = yard.names()
    assert 0 < names["a"] < names["b"], "a slow start"


def test_a_probe_needs_the_lease() -> None:
    yard = Yard([member("a"), member("b")])
    yard.fleet.lease = lambda _: False
    fail(yard, "a", errors.UpstreamUnavailable("down"), 3)
    yard.clock.tick(30)
    assert yard.names() == {"b": 200}


def test_a_cancelled_probe_frees_its_place() -> None:
    yard = Yard([member("a"), member("b")])
    fail(yard, "a", errors.UpstreamUnavailable("down"), 3)
    yard.clock.tick(11.5)
    choice = yard.choose()
    assert choice is not None
    assert choice.probe
    yard.fleet.cancelled(yard.fleet.begin(choice, Demand(100, 100)))
    assert yard.names(20) == {"b": 20}
    yard.clock.tick(1.0)
    again = yard.choose()
    assert again is not None
    assert again.probe


def test_a_probe_that_its_backup_overtook_was_too_slow() -> None:
    yard = Yard([member("a"), member("b")])
    fail(yard, "a", errors.UpstreamUnavailable("down"), 3)
    yard.clock.tick(11.5)
    choice = yard.choose()
    assert choice is not None
    booking = yard.fleet.begin(choice, Demand(100, 100))
    yard.clock.tick(1.0)
    yard.fleet.cancelled(booking)
    assert yard.condition("a").breaker.until > yard.clock() + 15


def test_a_refused_key_or_a_missing_model_takes_a_deployment_out_at_once() -> None:
    for error in (errors.UpstreamAuth("no"), errors.ModelMissing("no")):
        yard = Yard([member("a"), member("b")])
        fail(yard, "a", error)
        breaker = yard.condition("a").breaker
        assert (breaker.reason, breaker.until) == ("config", yard.clock() + 300)


def test_spent_money_takes_out_everybody_with_that_purse() -> None:
    rows = [member("a", quota_group="g"), member("b", quota_group="g"), member("c")]
    yard = Yard(rows)
    fail(yard, "a", errors.QuotaExhausted("insufficient_quota"))
    assert yard.names() == {"c": 200}
    assert yard.condition("b").breaker.until == yard.clock() + 900


def test_a_long_wait_for_quota_takes_out_the_one_that_said_so() -> None:
    yard = Yard([member("a", quota_group="g"), member("b", quota_group="g")])
    fail(yard, "a", errors.QuotaExhausted("day", retry_after=86_400.0))
    assert yard.names() == {"b": 200}
    assert yard.condition("a").breaker.until == yard.clock() + 900


def test_an_overloaded_region_is_liked_less_for_a_while() -> None:
    rows = [member("kr1", region="kr"), member("kr2", region="kr"), member("jp", region="jp")]
    yard = Yard(rows)
    fail(yard, "kr1", errors.Overloaded("high demand", upstream_status=429, retry_after=5.0))
    names = yard.names(1000)
    assert "kr1" not in names
    assert names["jp"] > 2 * names.get("kr2", 0)
    yard.clock.tick(11)
    assert yard.condition("kr2").slow(yard.clock()) == 1.0


def test_an_overloaded_vendor_is_spared() -> None:
    yard = Yard([member("a", vendor="one"), member("b", vendor="one")], [member("c", vendor="two")])
    fail(yard, "a", errors.Overloaded("529", upstream_status=529), 10)
    assert yard.names() == {"b": 200}, "ten calls say nothing of a vendor"
    fail(yard, "a", errors.Overloaded("529", upstream_status=529), 20)
    assert yard.names()["c"] > 100


def test_a_plain_503_is_a_failure_and_no_cooldown() -> None:
    yard = Yard([member("a"), member("b")])
    fail(yard, "a", errors.Overloaded("down", upstream_status=503), 3)
    condition = yard.condition("a")
    assert condition.breaker.opened
    assert condition.cooldown_until == 0


def test_refusals_without_a_wait_back_off() -> None:
    yard = Yard([member("a"), member("b")])
    waits = []
    for _ in range(7):
        fail(yard, "a", errors.RateLimited("full"))
        waits.append(yard.condition("a").cooldown_until - yard.clock())
        yard.clock.tick(waits[-1] + 30)
        yard.condition("a").ledger = type(yard.condition("a").ledger)(PTU, yard.clock())
    assert [round(w) for w in waits[:4]] in ([1, 2, 4, 8], [1, 2, 4, 9])
    assert max(waits) <= 33


def test_a_refusal_is_no_failure() -> None:
    yard = Yard([member("a"), member("b")])
    for _ in range(9):
        fail(yard, "a", errors.RateLimited("full", retry_after=0.05))
        yard.clock.tick(60)
    assert not yard.condition("a").breaker.opened


def test_the_callers_fault_changes_nothing() -> None:
    yard = Yard([member("a")], [member("b")])
    fail(yard, "a", errors.InvalidRequest("no"), 9)
    condition = yard.condition("a")
    assert not condition.breaker.opened
    assert condition.cooldown_until == 0


def test_a_timeout_counts_as_slow_too() -> None:
    yard = Yard([member("a")], [member("b")])
    choice = yard.choose()
    assert choice is not None
    booking = yard.fleet.begin(choice, Demand(100, 100))
    yard.clock.tick(5.0)
    yard.fleet.failed(booking, errors.UpstreamTimeout("late"))
    assert yard.condition("a").slow(yard.clock()) > 5


def test_an_interrupted_answer_is_half_a_failure() -> None:
    yard = Yard([member("a")], [member("b")])
    fail(yard, "a", errors.UpstreamUnavailable("cut", phase="stream"), 5)
    assert not yard.condition("a").breaker.opened
    fail(yard, "a", errors.EmptyAnswer("nothing"))
    assert yard.condition("a").breaker.opened


def test_when_most_are_out_everywhere_failures_are_ignored_but_not_faults_of_config() -> None:
    yard = Yard([member(f"d{i}") for i in range(4)])
    for i in range(3):
        fail(yard, f"d{i}", errors.UpstreamUnavailable("down"), 3)
    fail(yard, "d3", errors.UpstreamAuth("no"))
    assert set(yard.names()) == {"d0", "d1", "d2"}


def test_a_lower_tier_that_is_whole_is_better_than_panic() -> None:
    yard = Yard([member("a"), member("b")], [member("c")])
    for name in ("a", "b"):
        fail(yard, name, errors.UpstreamUnavailable("down"), 3)
    assert yard.names() == {"c": 200}


def test_a_full_fleet_says_when_there_will_be_room() -> None:
    yard = Yard([member("a"), member("b")])
    yard.fleet.traffic(yard.route)
    yard.condition("a").cool_down(7.0, yard.clock())
    fill(yard, "b", 1.2)
    demand = Demand(0, 1000)
    traffic, look = yard.fleet.traffic(yard.route), yard.fleet.look(demand)
    wait = yard.fleet.earliest(traffic, look)
    assert isinstance(wait, Wait)
    assert wait.throttled
    assert wait.seconds == pytest.approx(7.0)
    least = yard.fleet.least_full(traffic, look)
    assert least is not None
    assert least.deployment.id == "b/m"


def test_a_fleet_that_is_out_is_not_merely_full() -> None:
    yard = Yard([member("a")])
    yard.fleet.traffic(yard.route)
    yard.condition("a").breaker.open("config", yard.clock(), 300)
    traffic, look = yard.fleet.traffic(yard.route), yard.fleet.look(Demand())
    wait = yard.fleet.earliest(traffic, look)
    assert wait is not None
    assert (wait.seconds, wait.throttled) == (300.0, False)
    assert yard.fleet.least_full(traffic, look) is None


def test_a_spilled_answer_is_not_to_the_credit_of_the_full_one() -> None:
    yard = Yard([member("a")], [member("b")])
    choice = yard.choose()
    assert choice is not None
    booking = yard.fleet.begin(choice, Demand(100, 100))
    booking.headroom = Headroom(spilled=True)
    yard.clock.tick(9.0)
    yard.fleet.succeeded(booking)
    yard.fleet.settle(booking, Usage(100, 10))
    assert yard.condition("a").slow(yard.clock()) == 1.0
    assert yard.names(20) == {"b": 20}


def test_a_settled_attempt_leaves_nothing_behind() -> None:
    yard = Yard([member("a")])
    choice = yard.choose()
    assert choice is not None
    booking = yard.fleet.begin(choice, Demand(100, 100))
    yard.fleet.settle(booking, Usage(0, 0))
    yard.fleet.settle(booking, Usage(900, 900))
    condition = yard.condition("a")
    assert condition.in_flight == 0
    assert condition.ledger.fill(0, yard.clock()) == 0


def test_an_answer_without_usage_costs_its_prompt_and_what_was_seen() -> None:
    yard = Yard([member("a")])
    choice = yard.choose()
    assert choice is not None
    booking = yard.fleet.begin(choice, Demand(600, 1000))
    yard.fleet.settle(booking, None, seen=100)
    assert yard.condition("a").ledger.fill(0, yard.clock()) == pytest.approx(900 / 30_000)


def test_what_is_known_outlives_a_reload_and_a_new_capacity_begins_empty() -> None:
    clock = Clock()
    fleet = Fleet(clock)
    policy = Yard([member("a")]).route.policy
    first = fleet.traffic(Route("r", "chat", ((member("a"),),), policy))
    condition = first.tiers[0].members[0].condition
    condition.cool_down(60, clock())
    condition.ledger.book(20_000, clock())
    again = fleet.traffic(Route("r", "chat", ((member("a"),),), policy))
    assert again is not first
    assert again.estimator is first.estimator
    assert again.tiers[0].members[0].condition is condition
    assert condition.ledger.fill(0, clock()) > 0
    grown = Reserved(48, 2500, 3.0)
    fleet.traffic(Route("r", "chat", ((member("a", grown),),), policy))
    assert condition.ledger.fill(0, clock()) == 0
    assert condition.cooldown_until == clock() + 60


def test_streams_and_whole_answers_have_expectations_of_their_own() -> None:
    yard = Yard([member("a")])
    streams = yard.fleet.traffic(yard.route)
    whole = yard.fleet.traffic(yard.route, stream=False)
    assert whole.budget is streams.budget
    member_, other = streams.tiers[0].members[0], whole.tiers[0].members[0]
    assert member_.condition is other.condition
    assert member_.expectation is not other.expectation
