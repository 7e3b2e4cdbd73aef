"""Processes that share what they know through a real Redis, and what befalls them without it."""

import asyncio
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from redis.asyncio.connection import AbstractConnection
from redis.exceptions import RedisError

from hamlet.core.errors import RateLimited, UpstreamUnavailable
from hamlet.registry import Deployment, Quota, Reserved
from hamlet.routing import Demand, Fleet, Sharing
from hamlet.routing.gossip.message import Standing, Tidings, encode
from hamlet.routing.gossip.redis_connection import Link
from hamlet.routing.load_balancer import Choice
from hamlet.testing.scripted import ScriptedProvider, says
from support.gateways import Bench, Log, deployment, quick
from support.redis import RedisServer, redis_server, slow_proxy, up_to
from support.server import FAST, ROUTES, serving, until

PTU = Reserved(10, 6000, 1.0)
"""A thousand tokens a second, thirty thousand deep."""


@pytest.fixture
async def redis(tmp_path) -> AsyncIterator[RedisServer]:
    async with redis_server(tmp_path) as server:
        yield server


class Process:
    """What one process knows, without the process."""

    def __init__(self, url: str, deployments: list[Deployment], **settings: float) -> None:
        self.fleet = Fleet(rng=random.Random(7))
        self.deployments = deployments
        self.states: list[str] = []
        self.sharing = Sharing(
            self.fleet, url, "test", lambda: deployments, Log(), self.states.append, **settings
        )

    def condition(self, i: int = 0):
        return self.fleet.condition(self.deployments[i])

    def choice(self, i: int = 0, probe: bool = False) -> Choice:
        from hamlet.routing.latency import Expectation
        from hamlet.routing.selection import Member

        d = self.deployments[i]
        return Choice(Member(d, self.fleet.condition(d), Expectation(), 1.0), 0, probe)

    def call(self, tokens: float = 1000.0, i: int = 0, error: Exception | None = None) -> None:
        booking = self.fleet.begin(self.choice(i), Demand(tokens))
        if error is not None:
            self.fleet.failed(booking, error)

    def level(self, i: int = 0) -> float:
        return self.condition(i).ledger.levels(self.fleet.clock())[0]


def fleet_of(count: int = 2, capacity=PTU) -> list[Deployment]:
    return [
        deployment(ScriptedProvider(), f"d{i}", capacity=capacity, region="r") for i in range(count)
    ]


@asynccontextmanager
async def processes(
    url: str, count: int = 2, wait=True, **settings
) -> AsyncIterator[list[Process]]:
    capacity = settings.pop("capacity", PTU)
    all_ = [Process(url, fleet_of(capacity=capacity), **settings) for _ in range(count)]
    for each in all_:
        each.sharing.start()
    try:
        if wait:
            await until(lambda: all(p.sharing.state == "shared" for p in all_))
            await until(lambda: all(p.sharing.processes == count for p in all_))
        yield all_
    finally:
        for each in all_:
            await each.sharing.aclose()


async def test_what_one_process_learns_the_other_knows_within_two_seconds(redis) -> None:
    async with processes(redis.url) as (one, other):
        one.call(error=RateLimited("full", retry_after=30))
        for _ in range(3):
            one.call(i=1, error=UpstreamUnavailable("dead"))
        await until(lambda: other.condition(1).breaker.opened)
        left = other.condition().cooldown_until - other.fleet.clock()
        assert 28 < left <= 33
        assert other.condition().breaker.opened is False
        assert other.condition(1).breaker.epoch == one.condition(1).breaker.epoch
        one.condition(1).breaker.close(one.fleet.clock())
        one.fleet._track(one.condition(1))
        await until(lambda: not other.condition(1).breaker.opened)
        assert other.condition(1).breaker.weight(other.fleet.clock()) < 0.2


async def test_charges_add_up_in_every_process(redis) -> None:
    async with processes(redis.url, 3) as all_:
        for each in all_:
            each.call(5000)
        await until(lambda: all(p.level() > 10_000 for p in all_))
        levels = [p.level() for p in all_]
        assert max(levels) - min(levels) < 100
        assert max(levels) <= 15_000


async def test_requests_of_a_quota_add_up_too(redis) -> None:
    async with processes(redis.url, capacity=Quota(None, 6000)) as (one, other):
        for _ in range(500):
            one.call(1)

        def known() -> float:
            return other.condition().ledger.levels(other.fleet.clock())[1]

        await until(lambda: known() > 300)
        assert known() <= 500


async def test_a_wait_does_not_grow_by_being_told_again(redis) -> None:
    async with processes(redis.url, 3, every_s=0.02) as all_:
        all_[0].call(error=RateLimited("full", retry_after=60))
        until_ = all_[0].condition().cooldown_until
        await until(lambda: all(p.condition().cooldown_until for p in all_))
        await asyncio.sleep(3)
        assert all_[0].condition().cooldown_until == until_
        assert all(p.condition().cooldown_until < until_ + 0.5 for p in all_)


async def test_slowness_is_common_knowledge(redis) -> None:
    async with processes(redis.url) as (one, other):
        one.condition().slowness.raise_to(9, one.fleet.clock())
        one.fleet.news.touched.add("d0/m")
        await until(lambda: other.condition().slow(other.fleet.clock()) > 8)
        assert other.condition().slow(other.fleet.clock()) <= 9
        assert other.condition(1).slow(other.fleet.clock()) == 1


async def test_a_late_process_begins_with_what_the_others_know(redis) -> None:
    async with processes(redis.url) as (one, _):
        one.call(20_000, error=RateLimited("full", retry_after=30))
        one.condition(1).breaker.open("config", one.fleet.clock(), 300)
        await asyncio.sleep(1.5)
        async with processes(redis.url, 1, wait=False) as (late,):
            await until(lambda: late.sharing.state == "shared")
            assert late.condition(1).breaker.reason == "config"
            assert late.condition().cooldown_until > late.fleet.clock() + 25
            assert late.level() > 15_000


async def test_one_of_three_processes_probes(redis) -> None:
    async with processes(redis.url, 3) as all_:
        for each in all_:
            each.condition().breaker.open("failures", each.fleet.clock(), 0.3)
        await until(lambda: any(p.fleet.lease("d0/m") for p in all_))
        for _ in range(30):
            assert sum(p.fleet.lease("d0/m") for p in all_) <= 1
            await asyncio.sleep(0.01)


async def test_a_lease_without_a_use_is_left_to_another(redis) -> None:
    async with processes(redis.url) as all_:
        for each in all_:
            each.condition().breaker.open("failures", each.fleet.clock(), 0.0)
        holders: set[int] = set()

        def seen() -> bool:
            holders.update(i for i, p in enumerate(all_) if p.fleet.lease("d0/m"))
            return len(holders) == 2

        await until(seen, 12)
        assert holders == {0, 1}


async def test_a_lease_is_kept_while_its_probe_runs(redis) -> None:
    async with processes(redis.url) as all_:
        for each in all_:
            each.condition().breaker.open("failures", each.fleet.clock(), 0.0)
        await until(lambda: any(p.fleet.lease("d0/m") for p in all_))
        holder, other = sorted(all_, key=lambda p: not p.fleet.lease("d0/m"))
        holder.condition().breaker.start_probe(holder.fleet.clock())
        end = holder.fleet.clock() + 6
        while holder.fleet.clock() < end:
            assert not other.fleet.lease("d0/m")
            await asyncio.sleep(0.05)
        assert holder.fleet.lease("d0/m")


async def test_without_redis_at_the_start_everybody_goes_on_and_joins_later(tmp_path) -> None:
    async with redis_server(tmp_path) as server:
        await server.kill()
        async with processes(server.url, wait=False) as all_:
            await until(lambda: all(p.sharing.state == "away" for p in all_))
            all_[0].call(error=RateLimited("full", retry_after=30))
            await server.start()
            await until(lambda: all_[1].condition().cooldown_until > 0)
            await until(lambda: all(p.sharing.state == "shared" for p in all_))
            assert all_[0].states[:2] == ["away", "shared"]


async def test_while_redis_is_away_each_has_its_share_and_parts_add_up_after(redis) -> None:
    async with processes(redis.url) as (one, other):
        one.call(10_000)
        await until(lambda: other.level() > 8_000)
        await redis.kill()
        await until(lambda: all(p.sharing.state == "away" for p in (one, other)))
        capacity = sum(p.condition().ledger._bucket.rate for p in (one, other))
        assert 1000 <= capacity <= 1150
        before = one.level() + other.level()
        one.call(3000)
        other.call(2000)
        await redis.start()
        await until(lambda: all(p.sharing.state == "shared" for p in (one, other)))
        # A snapshot may be a second old, in which a thousand tokens drain: a thirtieth of it all.
        await until(lambda: abs(one.level() - other.level()) < 1100)
        assert one.level() <= before + 5000
        assert one.level() > before + 5000 - 4 * 1100
        assert one.condition().ledger._bucket.rate == pytest.approx(1000)


@pytest.mark.parametrize(
    ("trouble", "cure"),
    [
        (("REPLICAOF", "127.0.0.1", "1"), ("REPLICAOF", "NO", "ONE")),
        (("CONFIG", "SET", "maxmemory", "1"), ("CONFIG", "SET", "maxmemory", "0")),
        (("CONFIG", "SET", "requirepass", "other"), None),
    ],
    ids=["readonly", "oom", "wrong password"],
)
async def test_a_redis_that_refuses_is_like_none(redis, trouble, cure) -> None:
    async with processes(redis.url) as all_:
        assert await redis.ask(*trouble) == "OK"
        if cure is None:
            await redis.ask("-a", "other", "CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
        await until(lambda: all(p.sharing.state == "away" for p in all_))
        if cure is None:
            assert await redis.ask("-a", "other", "CONFIG", "SET", "requirepass", "") == "OK"
        else:
            assert await redis.ask(*cure) == "OK"
        all_[0].call(error=RateLimited("full", retry_after=30))
        await until(lambda: all_[1].condition().cooldown_until > 0)


async def test_a_redis_that_hangs_is_like_none_and_then_like_one(redis) -> None:
    async with processes(redis.url) as all_:
        redis.pause()
        await until(lambda: all(p.sharing.state == "away" for p in all_))
        all_[0].call(error=RateLimited("full", retry_after=30))
        redis.resume()
        await until(lambda: all_[1].condition().cooldown_until > 0)
        asleep = asyncio.create_task(redis.ask("DEBUG", "SLEEP", "2.5"))
        await until(lambda: all(p.sharing.state == "away" for p in all_))
        assert await asleep == "OK"
        await until(lambda: all(p.sharing.state == "shared" for p in all_))


async def test_half_an_answer_is_none(redis) -> None:
    async with slow_proxy(redis.socket, lambda: 0.0, lambda: 3) as url:
        async with processes(url, 1, wait=False) as (one,):
            await until(lambda: one.sharing.state == "away")
            one.call(5000)
            assert one.level() > 4000


async def test_cancelled_commands_never_get_anothers_answer(redis) -> None:
    """Fault matrix, row 47: the answer to a cancelled command must not be taken for the next's."""
    rng, right, given_up = random.Random(4), 0, 0

    async def asker(url: str, me: int) -> None:
        nonlocal right, given_up
        link = await opened(url)
        for i in range(50):
            words = [f"{me}-{i}-{n}".encode() for n in range(25)]
            task = asyncio.ensure_future(link.ask(*(("ECHO", word) for word in words)))
            if rng.random() < 0.5:
                asyncio.get_running_loop().call_later(rng.uniform(0, 0.004), task.cancel)
            try:
                assert await task == words
                right += 1
            except (asyncio.CancelledError, OSError, RedisError):
                # What was given up is the command, not this test.
                assert not asyncio.current_task().cancelling()
                given_up += 1
                await link.aclose()
                link = await opened(url)
        await link.aclose()

    async def opened(url: str) -> Link:
        for _ in range(20):
            link = Link(url, 0.25)
            try:
                await link.open("c")
                return link
            except (OSError, RedisError):
                await link.aclose()
        raise ConnectionError("the proxy lets nobody in")

    async with slow_proxy(redis.socket, up_to(0.004)) as url:
        await asyncio.gather(*(asker(url, me) for me in range(8)))
    assert right + given_up == 400
    assert right > 150
    assert given_up > 15


class Replica:
    """A gateway process that shares: the real one but for its providers."""

    def __init__(self, url: str, plays, **settings) -> None:
        self.providers = [ScriptedProvider(play) for play in plays]
        rows = [
            deployment(provider, f"d{i}", capacity=PTU, region="r")
            for i, provider in enumerate(self.providers)
        ]
        self.bench = Bench(rows, policy=quick(), max_in_flight=1000)
        self.fleet = self.bench.fleet
        self.states: list[str] = []
        self.sharing = Sharing(
            self.fleet, url, "test", lambda: rows, Log(), self.states.append, **settings
        )
        self.errors: list[BaseException] = []
        self.answered = 0
        self.tasks: set[asyncio.Task] = set()

    async def call(self) -> None:
        try:
            assert await self.bench.text() == "hello"
            self.answered += 1
        except Exception as error:
            self.errors.append(error)

    async def load(self, until_: asyncio.Event, every_s: float = 0.01) -> None:
        """A call every `every_s`, whatever becomes of those before."""
        while not until_.is_set():
            task = asyncio.create_task(self.call())
            self.tasks.add(task)
            await asyncio.sleep(every_s)
        await asyncio.gather(*self.tasks)


@asynccontextmanager
async def replicas(url: str, plays=None, **settings) -> AsyncIterator[list[Replica]]:
    """Two under load, which ends with the block: no call may have failed, or talked to Redis."""
    plays = plays or [says("hello")] * 3
    both = [Replica(url, plays, **settings) for _ in range(2)]
    over, talkers = asyncio.Event(), set()
    send = AbstractConnection.send_packed_command

    async def noted(self, *args, **more):
        talkers.add(asyncio.current_task())
        return await send(self, *args, **more)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(AbstractConnection, "send_packed_command", noted)
        for each in both:
            each.sharing.start()
        loads = [asyncio.create_task(each.load(over)) for each in both]
        try:
            await until(lambda: all(r.sharing.processes == 2 for r in both))
            yield both
        finally:
            over.set()
            await asyncio.gather(*loads)
            for each in both:
                await each.sharing.aclose()
    assert talkers
    for each in both:
        assert each.errors == []
        assert each.answered == len(each.tasks) > 10
        assert not talkers & each.tasks
        assert each.bench.admission.in_flight == 0


async def test_calls_do_not_wait_for_a_redis_that_hangs(redis) -> None:
    async with replicas(redis.url) as both:
        redis.pause()
        await until(lambda: all(r.sharing.state == "away" for r in both))
        for each in both:
            start = each.fleet.clock()
            await each.bench.text()
            assert each.fleet.clock() - start < 0.5
        redis.resume()
        await until(lambda: all(r.sharing.state == "shared" for r in both))


async def test_calls_notice_neither_the_death_nor_the_return_of_redis(redis) -> None:
    async with replicas(redis.url) as (one, other):
        await redis.kill()
        await until(lambda: one.sharing.state == other.sharing.state == "away")
        await asyncio.sleep(0.3)
        await redis.start()
        await until(lambda: one.sharing.state == other.sharing.state == "shared")
        assert one.errors == other.errors == []


async def test_what_kills_a_deployment_is_found_out_once(redis) -> None:
    dead = [UpstreamUnavailable("refused")]
    async with replicas(redis.url, [dead, says("hello"), says("hello")]) as both:
        await until(lambda: all(r.fleet.conditions["d0/m"].breaker.opened for r in both))
        assert sum(len(r.providers[0].calls) for r in both) <= 8


async def test_one_process_among_two_tries_a_broken_deployment_again(redis) -> None:
    async with replicas(redis.url) as both:
        for each in both:
            each.fleet.conditions["d0/m"].breaker.open("failures", each.fleet.clock(), 0.5)
            each.fleet._track(each.fleet.conditions["d0/m"])
        before = [len(r.providers[0].calls) for r in both]
        await until(lambda: all(not r.fleet.conditions["d0/m"].breaker.opened for r in both))
        asked = [len(r.providers[0].calls) - n for r, n in zip(both, before, strict=True)]
        assert sorted(asked)[1] >= 2


async def test_a_backlog_of_ten_thousand_messages_holds_nothing_up(redis) -> None:
    word = encode(Tidings("flood", 77, {"d1/m": (0.001, 0.0)}, {"d2/m": Standing(slow=1.1)}))
    before, after = word.decode().split("77")
    script = (
        "for i = ARGV[3], ARGV[4] do redis.call('publish', KEYS[1], ARGV[1] .. i .. ARGV[2]) end "
        "return 1"
    )
    async with replicas(redis.url) as both:
        channel = "hamlet:fleet:test:news"
        for part in range(10):
            first = [str(1000 * part + 1), str(1000 * part + 1000)]
            assert await redis.ask("EVAL", script, "1", channel, before, after, *first) == "1"
        start = asyncio.get_running_loop().time()
        condition = both[0].fleet.conditions["d0/m"]
        condition.cool_down(30, both[0].fleet.clock())
        both[0].fleet._track(condition)
        gap, last = 0.0, start
        while not both[1].fleet.conditions["d0/m"].cooldown_until:
            await asyncio.sleep(0.005)
            now = asyncio.get_running_loop().time()
            gap, last = max(gap, now - last), now
            assert now - start < 60
        # Taken in at one go the backlog would be all of the time there was.
        assert gap < max(0.5, (last - start) / 4)
        # Whoever fell behind so far that it was away meanwhile has begun anew from a snapshot.
        assert any(r.sharing.exchange._numbers["flood"] > 1000 or "away" in r.states for r in both)


async def test_a_process_that_was_killed_is_taken_off_the_list(redis) -> None:
    await redis.ask("SADD", "hamlet:fleet:test:members", "ghost")
    async with processes(redis.url, 1):
        assert "ghost" not in await redis.ask("SMEMBERS", "hamlet:fleet:test:members")
        assert await redis.ask("SCARD", "hamlet:fleet:test:members") == "1"
    assert await redis.ask("KEYS", "*") == ""


async def test_a_subscription_that_fell_silent_is_made_anew(redis) -> None:
    async with processes(redis.url, 1) as (one,):
        one.sharing._heard_at = -100.0
        await until(lambda: one.sharing._strikes == 1)
        await until(lambda: one.sharing._strikes == 0)
        assert one.states == ["shared"]


async def test_served_hamlets_share_and_show_it(redis, monkeypatch) -> None:
    monkeypatch.setenv("HAMLET_TEST_REDIS", redis.url)
    config = FAST + "fleet: {redis: env:HAMLET_TEST_REDIS, group: served}\n" + ROUTES
    async with serving(config) as one, serving(config) as other:
        await until(lambda: one.hamlet._processes() == other.hamlet._processes() == 2)
        text = (await one.hamlet.metrics.render()).decode()
        assert 'hamlet_fleet_shared_state{state="shared"} 1.0' in text
        await redis.kill()
        await until(lambda: one.hamlet.sharing.state == "away")
        text = (await one.hamlet.metrics.render()).decode()
        assert 'hamlet_fleet_shared_state{state="away"} 1.0' in text
        assert 'hamlet_fleet_shared_state{state="shared"} 0.0' in text
        assert "fleet.away" in one.log.getvalue()
        assert str(redis.socket) not in one.log.getvalue()
