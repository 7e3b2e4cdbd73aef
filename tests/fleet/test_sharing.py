"""What processes make of one another's tidings, without a Redis."""

import random
from functools import partial

import pytest

from hamlet.core.errors import RateLimited
from hamlet.registry import Deployment, Quota, Reserved
from hamlet.routing import Condition, Fleet, Sharing
from hamlet.routing.failure_policy import judge
from hamlet.routing.gossip.merger import Exchange
from hamlet.routing.gossip.message import Standing, Tidings, decode, encode
from hamlet.routing.gossip.probe_leases import LEASE_S, Leases
from hamlet.routing.gossip.redis_connection import Link
from hamlet.testing.scripted import ScriptedProvider
from support.gateways import Log, deployment

PTU = Reserved(10, 6000, 1.0)


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


class Side:
    def __init__(self, name: str, clock: Clock, capacity=PTU) -> None:
        self.fleet = Fleet(clock, random.Random(1))
        self.rows: list[Deployment] = [deployment(ScriptedProvider(), "d", capacity=capacity)]
        self.exchange = Exchange(self.fleet, name, lambda: self.rows)
        self.condition: Condition = self.fleet.condition(self.rows[0])

    def level(self) -> float:
        return self.condition.ledger.levels(self.fleet.clock())[0]

    def book(self, cost: float) -> None:
        self.condition.ledger.book(cost, self.fleet.clock())
        self.fleet.news.costs["d/m"] += cost
        self.fleet.news.calls["d/m"] += 1


@pytest.fixture
def clock() -> Clock:
    return Clock()


def test_what_did_not_arrive_is_said_again_once(clock) -> None:
    one, other = Side("a", clock), Side("b", clock)
    one.book(100)
    one.fleet.news.touched.add("d/m")
    lost = one.exchange.tidings()
    one.book(50)
    heard = one.exchange.tidings()
    assert lost is not None
    assert heard is not None
    assert heard.charges == {"d/m": (150.0, 2)}
    assert set(heard.standings) == {"d/m"}
    one.exchange.sent()
    assert one.exchange.tidings() is None
    for _ in range(2):
        other.exchange.absorb(heard)
    assert other.level() == pytest.approx(150)


def test_a_process_does_not_listen_to_itself_nor_to_what_it_does_not_know(clock) -> None:
    one = Side("a", clock)
    one.exchange.absorb(Tidings("a", 1, {"d/m": (100.0, 1.0)}))
    one.exchange.absorb(Tidings("b", 1, {"x/y": (9.0, 1.0)}, {"x/y": Standing(cooldown_s=3)}))
    assert one.level() == 0
    assert set(one.fleet.conditions) == {"d/m"}


def test_a_cooldown_never_shortens_and_is_not_passed_on(clock) -> None:
    one, other = Side("a", clock), Side("b", clock)
    judge(one.condition, RateLimited("full", retry_after=60), clock(), random.Random(1))
    told = one.exchange.tidings(whole=True)
    assert told is not None
    other.condition.cool_down(5, clock())
    other.exchange.absorb(told)
    assert other.condition.cooldown_until == one.condition.cooldown_until
    again = other.exchange.tidings(whole=True)
    assert again is not None
    assert all(said.cooldown_s == 0 for said in again.standings.values())
    one.exchange.absorb(Tidings("c", 1, {}, {"d/m": Standing(cooldown_s=1, penalty_s=9)}))
    assert one.condition.cooldown_until > clock() + 50
    assert one.condition.penalty_until == clock() + 9


def test_the_newer_breaker_counts_and_of_equals_the_open_one(clock) -> None:
    one, other = Side("a", clock), Side("b", clock)
    one.condition.breaker.open("failures", clock(), 30)
    other.condition.breaker.adopt(1, None, 0, 0, clock())
    other.condition.breaker.epoch = 1
    for from_, to in ((one, other), (other, one)):
        told = from_.exchange.tidings(whole=True)
        assert told is not None
        to.exchange.absorb(told)
    assert other.condition.breaker.opened
    assert other.condition.breaker.until == clock() + 30


def test_who_watches_hears_of_a_breaker_that_another_process_opened(clock) -> None:
    one, other = Side("a", clock), Side("b", clock)
    seen: list[bool] = []
    other.fleet.watch = lambda condition: seen.append(condition.breaker.opened)
    for change in (partial(one.condition.breaker.open, "failures"), one.condition.breaker.close):
        change(clock())
        told = one.exchange.tidings(whole=True)
        assert told is not None
        other.exchange.absorb(told)
    assert seen == [True, False]


def test_how_slow_it_was_is_forgotten_everywhere_once_it_is_well(clock) -> None:
    one, other = Side("a", clock), Side("b", clock)
    one.condition.slowness.raise_to(9, clock())
    one.condition.breaker.open("slow", clock(), 10)
    told = one.exchange.tidings(whole=True)
    assert told is not None
    other.exchange.absorb(told)
    assert other.condition.slow(clock()) == 9
    one.condition.breaker.close(clock())
    one.condition.heal(clock())
    late, news = other.exchange.tidings(whole=True), one.exchange.tidings(whole=True)
    assert late is not None
    assert news is not None
    one.exchange.absorb(late)
    other.exchange.absorb(news)
    assert one.condition.slow(clock()) == other.condition.slow(clock()) == 1
    assert not other.condition.breaker.opened


@pytest.mark.parametrize("capacity", [PTU, Quota(60_000, 600), None], ids=["ptu", "quota", "open"])
def test_alone_each_has_its_share_and_together_the_parts_add_up(clock, capacity) -> None:
    one, other = Side("a", clock, capacity), Side("b", clock, capacity)
    for x, y in ((one, other), (other, one)):
        x.exchange.absorb(Tidings(y.exchange.name, 0))
        x.exchange.sent()
    assert one.exchange.processes == 2
    for side, cost in ((one, 3000), (other, 1000)):
        side.exchange.part()
        side.exchange.part()
        side.book(cost)
    assert one.condition.ledger.fill(0, clock()) == pytest.approx(
        one.level() / (30_000 * 0.55) if capacity == PTU else one.level() / 33_000, abs=0.04
    )
    one.exchange.join([], alone=True)
    first = one.exchange.tidings(whole=True)
    snapshot = one.exchange.snapshot()
    one.exchange.sent()
    other.exchange.join([snapshot, other.exchange.snapshot()], alone=True)
    assert first is not None
    other.exchange.absorb(first)
    second = other.exchange.tidings(whole=True)
    assert second is not None
    one.exchange.absorb(second)
    assert one.level() == other.level() == (0 if capacity is None else 4000)


def test_who_was_not_alone_does_not_add_what_it_knows_already(clock) -> None:
    one, other = Side("a", clock), Side("b", clock)
    one.book(2000)
    other.condition.ledger.book(1500, clock())
    other.exchange.join([one.exchange.snapshot()], alone=False)
    assert other.level() == 2000


def test_without_redis_a_lease_is_drawn_by_lot_for_each_few_seconds(clock) -> None:
    side = Side("a", clock)
    leases = Leases(side.fleet)
    side.condition.breaker.open("failures", clock(), 0)
    leases.draw(1)
    assert leases.holds("d/m")
    clock.now += LEASE_S
    assert not leases.holds("d/m")
    held = 0
    for _ in range(400):
        leases.draw(4)
        won = leases.holds("d/m")
        leases.draw(1)
        assert leases.holds("d/m") == won, "drawing more often must not help"
        held += won
        clock.now += 2 * LEASE_S
    assert 60 < held < 140


def test_a_lease_that_another_took_is_ours_no_more(clock) -> None:
    leases = Leases(Side("a", clock).fleet)
    leases.granted("d/m", clock())
    leases.refused("d/m")
    assert not leases.holds("d/m")


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"{",
        b"[]",
        b'{"sender":1,"number":1}',
        b'{"sender":"a","number":1,"standings":{"d":[-1]}}',
    ],
)
def test_what_is_no_tidings_is_nothing(data: bytes) -> None:
    assert decode(data) is None


def test_tidings_survive_the_journey() -> None:
    said = Standing(1.5, 0.5, 2.0, 3, "quota", 900.0, 2)
    tidings = Tidings("a", 7, {"d": (1.5, 1.0)}, {"d": said}, {"d": (3.0, 0.0)})
    assert decode(encode(tidings)) == tidings


async def test_a_link_that_is_not_sound_is_not_used() -> None:
    link = Link("redis://127.0.0.1:1/0", 0.05)
    with pytest.raises(ConnectionError):
        await link.ask(("PING",))
    await link.aclose()


async def test_what_never_began_can_be_stopped() -> None:
    sharing = Sharing(Fleet(), "redis://127.0.0.1:1/0", "g", list, Log())
    await sharing.aclose()
    assert sharing.state == "local"
