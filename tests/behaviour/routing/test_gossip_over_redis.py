"""Processes that share their state through a real Redis, and its outages."""

import asyncio
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from redis.asyncio.connection import AbstractConnection
from redis.exceptions import RedisError

from hamlet.core.errors import RateLimited, UpstreamUnavailable
from hamlet.registry import Deployment, Quota, ReservedThroughput
from hamlet.routing import (
    CostEstimate,
    Selection,
)
from hamlet.routing.gossip.message import DeploymentSnapshot, GossipMessage, encode
from hamlet.routing.gossip.redis_connection import RedisConnection
from hamlet.testing.scripted import ScriptedProvider, says
from support.gateway import GatewayHarness, deployment, fast_policy
from support.redis import RedisServer, random_delays, redis_server, slow_proxy
from support.replica import ReplicaState
from support.server import EMBEDDED_PROVIDER, EMBEDDED_ROUTES, run_server, wait_until

PTU = ReservedThroughput(10, 6000, 1.0)
"""A thousand tokens a second; the bucket holds thirty thousand."""


@pytest.fixture
async def redis(tmp_path) -> AsyncIterator[RedisServer]:
    async with redis_server(tmp_path) as server:
        yield server


class SharingReplica(ReplicaState):
    """A replica that shares its state over Redis, without the process."""

    def __init__(self, url: str, deployments: list[Deployment], **settings: float) -> None:
        super().__init__(deployments, seed=7)
        self.sync_task = self.sync_over(url, **settings)

    def selection(self, i: int = 0, probe: bool = False) -> Selection:
        from hamlet.routing.latency import LatencyModel
        from hamlet.routing.selection import Candidate

        d = self.deployments[i]
        return Selection(
            Candidate(d, self.load_balancer.deployment_state(d), LatencyModel(), 1.0), 0, probe
        )

    def reserve_call(
        self, tokens: float = 1000.0, i: int = 0, error: Exception | None = None
    ) -> None:
        reservation = self.load_balancer.reserve(self.selection(i), CostEstimate(tokens))
        if error is not None:
            self.load_balancer.record_failure(reservation, error)


def make_deployments(count: int = 2, capacity=PTU) -> list[Deployment]:
    return [
        deployment(ScriptedProvider(), f"d{i}", capacity=capacity, region="r") for i in range(count)
    ]


@asynccontextmanager
async def run_processes(
    url: str, count: int = 2, wait=True, **settings
) -> AsyncIterator[list[SharingReplica]]:
    capacity = settings.pop("capacity", PTU)
    all_ = [
        SharingReplica(url, make_deployments(capacity=capacity), **settings) for _ in range(count)
    ]
    for each in all_:
        each.sync_task.start()
    try:
        if wait:
            await wait_until(lambda: all(p.sync_task.state == "shared" for p in all_))
            await wait_until(lambda: all(p.sync_task.process_count == count for p in all_))
        yield all_
    finally:
        for each in all_:
            await each.sync_task.aclose()


async def test_state_propagates_within_two_seconds(redis) -> None:
    async with run_processes(redis.url) as (one, other):
        one.reserve_call(error=RateLimited("full", retry_after=30))
        for _ in range(3):
            one.reserve_call(i=1, error=UpstreamUnavailable("dead"))
        await wait_until(lambda: other.deployment_state(1).breaker.is_tripped)
        left = other.deployment_state().cooldown_until - other.load_balancer.clock()
        assert 28 < left <= 33
        assert other.deployment_state().breaker.is_tripped is False
        assert other.deployment_state(1).breaker.epoch == one.deployment_state(1).breaker.epoch
        one.deployment_state(1).breaker.close(one.load_balancer.clock())
        one.load_balancer._mark_changed(one.deployment_state(1))
        await wait_until(lambda: not other.deployment_state(1).breaker.is_tripped)
        assert (
            other.deployment_state(1).breaker.slow_start_weight(other.load_balancer.clock()) < 0.2
        )


async def test_charges_are_summed_in_every_process(redis) -> None:
    async with run_processes(redis.url, 3) as all_:
        for each in all_:
            each.reserve_call(5000)
        await wait_until(lambda: all(p.capacity_level() > 10_000 for p in all_))
        levels = [p.capacity_level() for p in all_]
        assert max(levels) - min(levels) < 100
        assert max(levels) <= 15_000


async def test_requests_of_a_quota_are_summed_too(redis) -> None:
    async with run_processes(redis.url, capacity=Quota(None, 6000)) as (one, other):
        for _ in range(500):
            one.reserve_call(1)

        def known() -> float:
            return other.deployment_state().capacity_model.undrained_levels(
                other.load_balancer.clock()
            )[1]

        await wait_until(lambda: known() > 300)
        assert known() <= 500


async def test_repeated_message_does_not_extend_cooldown(redis) -> None:
    async with run_processes(redis.url, 3, interval_s=0.02) as all_:
        all_[0].reserve_call(error=RateLimited("full", retry_after=60))
        until_ = all_[0].deployment_state().cooldown_until
        await wait_until(lambda: all(p.deployment_state().cooldown_until for p in all_))
        await asyncio.sleep(3)
        assert all_[0].deployment_state().cooldown_until == until_
        assert all(p.deployment_state().cooldown_until < until_ + 0.5 for p in all_)


async def test_latency_is_shared(redis) -> None:
    async with run_processes(redis.url) as (one, other):
        one.deployment_state().slowness.raise_to(9, one.load_balancer.clock())
        one.load_balancer.pending_updates.changed_ids.add("d0/m")
        await wait_until(
            lambda: other.deployment_state().slowness_factor(other.load_balancer.clock()) > 8
        )
        assert other.deployment_state().slowness_factor(other.load_balancer.clock()) <= 9
        assert other.deployment_state(1).slowness_factor(other.load_balancer.clock()) == 1


async def test_new_process_starts_from_shared_state(redis) -> None:
    async with run_processes(redis.url) as (one, _):
        one.reserve_call(20_000, error=RateLimited("full", retry_after=30))
        one.deployment_state(1).breaker.open("config", one.load_balancer.clock(), 300)
        await asyncio.sleep(1.5)
        async with run_processes(redis.url, 1, wait=False) as (late,):
            await wait_until(lambda: late.sync_task.state == "shared")
            assert late.deployment_state(1).breaker.reason == "config"
            assert late.deployment_state().cooldown_until > late.load_balancer.clock() + 25
            assert late.capacity_level() > 15_000


async def test_one_of_three_processes_probes(redis) -> None:
    async with run_processes(redis.url, 3) as all_:
        for each in all_:
            each.deployment_state().breaker.open("failures", each.load_balancer.clock(), 0.3)
        await wait_until(lambda: any(p.load_balancer.may_probe("d0/m") for p in all_))
        for _ in range(30):
            assert sum(p.load_balancer.may_probe("d0/m") for p in all_) <= 1
            await asyncio.sleep(0.01)


async def test_unused_lease_passes_to_another_process(redis) -> None:
    async with run_processes(redis.url) as all_:
        for each in all_:
            each.deployment_state().breaker.open("failures", each.load_balancer.clock(), 0.0)
        holders: set[int] = set()

        def seen() -> bool:
            holders.update(i for i, p in enumerate(all_) if p.load_balancer.may_probe("d0/m"))
            return len(holders) == 2

        await wait_until(seen, 12)
        assert holders == {0, 1}


async def test_lease_is_extended_while_its_probe_runs(redis) -> None:
    async with run_processes(redis.url) as all_:
        for each in all_:
            each.deployment_state().breaker.open("failures", each.load_balancer.clock(), 0.0)
        await wait_until(lambda: any(p.load_balancer.may_probe("d0/m") for p in all_))
        holder, other = sorted(all_, key=lambda p: not p.load_balancer.may_probe("d0/m"))
        holder.deployment_state().breaker.start_probe(holder.load_balancer.clock())
        end = holder.load_balancer.clock() + 6
        while holder.load_balancer.clock() < end:
            assert not other.load_balancer.may_probe("d0/m")
            await asyncio.sleep(0.05)
        assert holder.load_balancer.may_probe("d0/m")


@pytest.mark.external("redis-server")
async def test_starts_without_redis_and_joins_later(tmp_path) -> None:
    async with redis_server(tmp_path) as server:
        await server.kill()
        async with run_processes(server.url, wait=False) as all_:
            await wait_until(lambda: all(p.sync_task.state == "away" for p in all_))
            all_[0].reserve_call(error=RateLimited("full", retry_after=30))
            await server.start()
            await wait_until(lambda: all_[1].deployment_state().cooldown_until > 0)
            await wait_until(lambda: all(p.sync_task.state == "shared" for p in all_))
            assert all_[0].sync_states[:2] == ["away", "shared"]


async def test_redis_outage_splits_capacity_and_merges_after(redis) -> None:
    async with run_processes(redis.url) as (one, other):
        one.reserve_call(10_000)
        await wait_until(lambda: other.capacity_level() > 8_000)
        await redis.kill()
        await wait_until(lambda: all(p.sync_task.state == "away" for p in (one, other)))
        capacity = sum(p.deployment_state().capacity_model._bucket.rate for p in (one, other))
        assert 1000 <= capacity <= 1150
        before = one.capacity_level() + other.capacity_level()
        one.reserve_call(3000)
        other.reserve_call(2000)
        await redis.start()
        await wait_until(lambda: all(p.sync_task.state == "shared" for p in (one, other)))
        # A snapshot may be a second old, in which a thousand tokens drain: a thirtieth of the bucket.
        await wait_until(lambda: abs(one.capacity_level() - other.capacity_level()) < 1100)
        assert one.capacity_level() <= before + 5000
        assert one.capacity_level() > before + 5000 - 4 * 1100
        assert one.deployment_state().capacity_model._bucket.rate == pytest.approx(1000)


@pytest.mark.parametrize(
    ("trouble", "cure"),
    [
        (("REPLICAOF", "127.0.0.1", "1"), ("REPLICAOF", "NO", "ONE")),
        (("CONFIG", "SET", "maxmemory", "1"), ("CONFIG", "SET", "maxmemory", "0")),
        (("CONFIG", "SET", "requirepass", "other"), None),
    ],
    ids=["readonly", "oom", "wrong password"],
)
async def test_rejecting_redis_is_treated_as_absent(redis, trouble, cure) -> None:
    async with run_processes(redis.url) as all_:
        assert await redis.execute(*trouble) == "OK"
        if cure is None:
            await redis.execute("-a", "other", "CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
        await wait_until(lambda: all(p.sync_task.state == "away" for p in all_))
        if cure is None:
            assert await redis.execute("-a", "other", "CONFIG", "SET", "requirepass", "") == "OK"
        else:
            assert await redis.execute(*cure) == "OK"
        all_[0].reserve_call(error=RateLimited("full", retry_after=30))
        await wait_until(lambda: all_[1].deployment_state().cooldown_until > 0)


async def test_hanging_redis_is_treated_as_absent_until_it_recovers(redis) -> None:
    async with run_processes(redis.url) as all_:
        redis.pause()
        await wait_until(lambda: all(p.sync_task.state == "away" for p in all_))
        all_[0].reserve_call(error=RateLimited("full", retry_after=30))
        redis.resume()
        await wait_until(lambda: all_[1].deployment_state().cooldown_until > 0)
        asleep = asyncio.create_task(redis.execute("DEBUG", "SLEEP", "2.5"))
        await wait_until(lambda: all(p.sync_task.state == "away" for p in all_))
        assert await asleep == "OK"
        await wait_until(lambda: all(p.sync_task.state == "shared" for p in all_))


async def test_truncated_redis_reply_is_treated_as_absent(redis) -> None:
    async with slow_proxy(redis.socket, lambda: 0.0, lambda: 3) as url:
        async with run_processes(url, 1, wait=False) as (one,):
            await wait_until(lambda: one.sync_task.state == "away")
            one.reserve_call(5000)
            assert one.capacity_level() > 4000


async def test_reply_to_a_cancelled_command_is_not_taken_for_the_next(redis) -> None:
    """https://github.com/redis/redis-py/issues/2665"""
    rng, right, given_up = random.Random(4), 0, 0

    async def asker(url: str, me: int) -> None:
        nonlocal right, given_up
        connection = await opened(url)
        for i in range(50):
            words = [f"{me}-{i}-{n}".encode() for n in range(25)]
            task = asyncio.ensure_future(connection.execute(*(("ECHO", word) for word in words)))
            if rng.random() < 0.5:
                asyncio.get_running_loop().call_later(rng.uniform(0, 0.004), task.cancel)
            try:
                assert await task == words
                right += 1
            except (asyncio.CancelledError, OSError, RedisError):
                # The command was cancelled, not this test.
                assert not asyncio.current_task().cancelling()
                given_up += 1
                await connection.aclose()
                connection = await opened(url)
        await connection.aclose()

    async def opened(url: str) -> RedisConnection:
        for _ in range(20):
            connection = RedisConnection(url, 0.25)
            try:
                await connection.open("c")
                return connection
            except (OSError, RedisError):
                await connection.aclose()
        raise ConnectionError("the proxy lets nobody in")

    async with slow_proxy(redis.socket, random_delays(0.004)) as url:
        await asyncio.gather(*(asker(url, me) for me in range(8)))
    assert right + given_up == 400
    assert right > 150
    assert given_up > 15


class GatewayReplica:
    """A gateway process that shares its state; only its providers are scripted."""

    def __init__(self, url: str, plays, **settings) -> None:
        self.providers = [ScriptedProvider(play) for play in plays]
        rows = [
            deployment(provider, f"d{i}", capacity=PTU, region="r")
            for i, provider in enumerate(self.providers)
        ]
        self.state = ReplicaState(rows)
        self.load_balancer = self.state.load_balancer
        self.harness = GatewayHarness(
            rows,
            policy=fast_policy(),
            max_in_flight=1000,
            load_balancer=self.load_balancer,
        )
        self.states = self.state.sync_states
        self.sync_task = self.state.sync_over(url, **settings)
        self.errors: list[BaseException] = []
        self.answered = 0
        self.tasks: set[asyncio.Task] = set()

    async def call(self) -> None:
        try:
            assert await self.harness.read_text() == "hello"
            self.answered += 1
        except Exception as error:
            self.errors.append(error)

    async def generate_load(self, stop: asyncio.Event, interval_s: float = 0.01) -> None:
        """Start a call every `interval_s`, whether or not earlier ones have ended."""
        while not stop.is_set():
            task = asyncio.create_task(self.call())
            self.tasks.add(task)
            await asyncio.sleep(interval_s)
        await asyncio.gather(*self.tasks)


@asynccontextmanager
async def run_replicas(url: str, plays=None, **settings) -> AsyncIterator[list[GatewayReplica]]:
    """Two replicas under load within the block. No call may fail, or use Redis."""
    plays = plays or [says("hello")] * 3
    both = [GatewayReplica(url, plays, **settings) for _ in range(2)]
    over, talkers = asyncio.Event(), set()
    send = AbstractConnection.send_packed_command

    async def record_sender(self, *args, **more):
        talkers.add(asyncio.current_task())
        return await send(self, *args, **more)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(AbstractConnection, "send_packed_command", record_sender)
        for each in both:
            each.sync_task.start()
        loads = [asyncio.create_task(each.generate_load(over)) for each in both]
        try:
            await wait_until(lambda: all(r.sync_task.process_count == 2 for r in both))
            yield both
        finally:
            over.set()
            await asyncio.gather(*loads)
            for each in both:
                await each.sync_task.aclose()
    assert talkers
    for each in both:
        assert each.errors == []
        assert each.answered == len(each.tasks) > 10
        assert not talkers & each.tasks
        assert each.harness.admission.in_flight == 0


async def test_calls_do_not_wait_for_a_hanging_redis(redis) -> None:
    async with run_replicas(redis.url) as both:
        redis.pause()
        await wait_until(lambda: all(r.sync_task.state == "away" for r in both))
        for each in both:
            start = each.load_balancer.clock()
            await each.harness.read_text()
            assert each.load_balancer.clock() - start < 0.5
        redis.resume()
        await wait_until(lambda: all(r.sync_task.state == "shared" for r in both))


async def test_calls_are_unaffected_by_redis_outage(redis) -> None:
    async with run_replicas(redis.url) as (one, other):
        await redis.kill()
        await wait_until(lambda: one.sync_task.state == other.sync_task.state == "away")
        await asyncio.sleep(0.3)
        await redis.start()
        await wait_until(lambda: one.sync_task.state == other.sync_task.state == "shared")
        assert one.errors == other.errors == []


async def test_failure_is_detected_once_across_processes(redis) -> None:
    dead = [UpstreamUnavailable("refused")]
    async with run_replicas(redis.url, [dead, says("hello"), says("hello")]) as both:
        await wait_until(
            lambda: all(r.load_balancer.deployment_states["d0/m"].breaker.is_tripped for r in both)
        )
        assert sum(len(r.providers[0].calls) for r in both) <= 8


async def test_one_of_two_processes_probes_a_broken_deployment(redis) -> None:
    async with run_replicas(redis.url) as both:
        for each in both:
            each.load_balancer.deployment_states["d0/m"].breaker.open(
                "failures", each.load_balancer.clock(), 0.5
            )
            each.load_balancer._mark_changed(each.load_balancer.deployment_states["d0/m"])
        before = [len(r.providers[0].calls) for r in both]
        await wait_until(
            lambda: all(
                not r.load_balancer.deployment_states["d0/m"].breaker.is_tripped for r in both
            )
        )
        asked = [len(r.providers[0].calls) - n for r, n in zip(both, before, strict=True)]
        assert sorted(asked)[1] >= 2


async def test_backlog_of_ten_thousand_messages_blocks_no_call(redis) -> None:
    word = encode(
        GossipMessage(
            "flood", 77, {"d1/m": (0.001, 0.0)}, {"d2/m": DeploymentSnapshot(slowness=1.1)}
        )
    )
    before, after = word.decode().split("77")
    script = (
        "for i = ARGV[3], ARGV[4] do redis.call('publish', KEYS[1], ARGV[1] .. i .. ARGV[2]) end "
        "return 1"
    )
    async with run_replicas(redis.url) as both:
        channel = "hamlet:fleet:test:news"
        for part in range(10):
            first = [str(1000 * part + 1), str(1000 * part + 1000)]
            assert await redis.execute("EVAL", script, "1", channel, before, after, *first) == "1"
        start = asyncio.get_running_loop().time()
        state = both[0].load_balancer.deployment_states["d0/m"]
        state.cool_down(30, both[0].load_balancer.clock())
        both[0].load_balancer._mark_changed(state)
        gap, last = 0.0, start
        while not both[1].load_balancer.deployment_states["d0/m"].cooldown_until:
            await asyncio.sleep(0.005)
            now = asyncio.get_running_loop().time()
            gap, last = max(gap, now - last), now
            assert now - start < 60
        # Merged without yielding, the backlog would take all of the time.
        assert gap < max(0.5, (last - start) / 4)
        # A process that fell so far behind that it was "away" has started from a snapshot.
        assert any(
            r.sync_task.merger._last_numbers["flood"] > 1000 or "away" in r.states for r in both
        )


async def test_killed_process_is_removed_from_the_members(redis) -> None:
    await redis.execute("SADD", "hamlet:fleet:test:members", "ghost")
    async with run_processes(redis.url, 1):
        assert "ghost" not in await redis.execute("SMEMBERS", "hamlet:fleet:test:members")
        assert await redis.execute("SCARD", "hamlet:fleet:test:members") == "1"
    assert await redis.execute("KEYS", "*") == ""


async def test_silent_subscription_is_reopened(redis) -> None:
    async with run_processes(redis.url, 1) as (one,):
        one.sync_task._last_message_at = -100.0
        await wait_until(lambda: one.sync_task._consecutive_failures == 1)
        await wait_until(lambda: one.sync_task._consecutive_failures == 0)
        assert one.sync_states == ["shared"]


async def test_served_processes_share_state_and_report_it(redis, monkeypatch) -> None:
    monkeypatch.setenv("HAMLET_TEST_REDIS", redis.url)
    config = (
        EMBEDDED_PROVIDER
        + "fleet: {redis: env:HAMLET_TEST_REDIS, group: served}\n"
        + EMBEDDED_ROUTES
    )
    async with run_server(config) as one, run_server(config) as other:
        await wait_until(lambda: one.hamlet._process_count() == other.hamlet._process_count() == 2)
        text = (await one.hamlet.metrics.render()).decode()
        assert 'hamlet_fleet_shared_state{state="shared"} 1.0' in text
        await redis.kill()
        await wait_until(lambda: one.hamlet.gossip.state == "away")
        text = (await one.hamlet.metrics.render()).decode()
        assert 'hamlet_fleet_shared_state{state="away"} 1.0' in text
        assert 'hamlet_fleet_shared_state{state="shared"} 0.0' in text
        assert "fleet.away" in one.log.getvalue()
        assert str(redis.socket) not in one.log.getvalue()
