"""Deployments that nobody asks are asked now and then, and those that were broken before calls are."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from hamlet.config import GatewayConfig
from hamlet.core.errors import InvalidRequest, UpstreamUnavailable
from hamlet.gateway import Admission, Gateway, Observers, Prober
from hamlet.registry import Deployment, Registry, RegistryHolder, ReservedThroughput, Route
from hamlet.routing import LoadBalancer
from hamlet.testing.scripted import ScriptedProvider
from support.clock import ManualClock
from support.gateway import CONFIG, RecordingLog, RecordingObserver, deployment, fast_policy
from support.server import EMBEDDED_PROVIDER, EMBEDDED_ROUTES, run_server, wait_until

PTU = ReservedThroughput(10, 6000, 1.0)


class ProberHarness:
    """A gateway with a prober that looks around every few milliseconds."""

    def __init__(self, *deployments: Deployment, operation="chat", **fleet: Any) -> None:
        self.clock, self.notes = ManualClock(), RecordingObserver()
        self.load_balancer = LoadBalancer(self.clock)
        self.holder = RegistryHolder(self.registry(deployments, operation, fleet))
        gateway = Gateway(
            self.holder, Admission(10), Observers([self.notes], RecordingLog()), self.load_balancer
        )
        self.prober = Prober(self.holder, gateway, interval_s=0.002)
        self.deployment_states = [self.load_balancer.deployment_state(d) for d in deployments]

    def registry(self, deployments, operation="chat", fleet=None) -> Registry:
        config: GatewayConfig = CONFIG.config.model_copy(
            update={"fleet": CONFIG.config.fleet.model_copy(update=fleet or {})}
        )
        route = Route("r", operation, (tuple(deployments),), fast_policy(first_token_s=0.2))
        return Registry(config, {}, {"r": route} if deployments else {})


@asynccontextmanager
async def run_prober(*deployments: Deployment, **more: Any) -> AsyncIterator[ProberHarness]:
    probed = ProberHarness(*deployments, **more)
    await probed.prober.start()
    try:
        yield probed
    finally:
        await probed.prober.aclose()


async def test_an_idle_deployment_gets_a_call_of_one_token_and_no_more_until_idle_again() -> None:
    provider = ScriptedProvider()
    async with run_prober(deployment(provider, capacity=PTU)) as probed:
        await asyncio.sleep(0.05)
        assert provider.calls == []
        probed.clock.now += 61
        await wait_until(lambda: probed.notes.attempts)
        await asyncio.sleep(0.05)
        (call,) = provider.calls
        assert call.params.max_tokens == 1
        assert call.model == "m"
        assert probed.notes.attempts[0].error is None
        assert probed.notes.started == probed.notes.ended == []
        (condition,) = probed.deployment_states
        assert condition.in_flight == 0
        assert condition.capacity_model.undrained_levels(probed.clock())[0] == pytest.approx(4)


async def test_only_what_the_configuration_says_is_probed() -> None:
    async with run_prober(deployment(ScriptedProvider())) as probed:
        assert not probed.prober.is_running
    async with run_prober(deployment(ScriptedProvider(), capacity=PTU), probe="off") as probed:
        assert not probed.prober.is_running
    provider = ScriptedProvider()
    async with run_prober(deployment(provider), probe="all") as probed:
        probed.clock.now += 61
        await wait_until(lambda: provider.calls)


async def test_a_reload_begins_and_ends_probing() -> None:
    async with run_prober() as probed:
        assert not probed.prober.is_running
        one = deployment(ScriptedProvider(), capacity=PTU)
        probed.holder.swap(probed.registry((one,)), 0)
        for _ in range(2):
            await probed.prober.refresh()
            assert probed.prober.is_running
        probed.holder.swap(probed.registry(()), 0)
        await probed.prober.refresh()
        assert not probed.prober.is_running
        await probed.holder.aclose()


async def test_a_broken_deployment_heals_without_a_call() -> None:
    broken, well = ScriptedProvider(), ScriptedProvider()
    both = deployment(broken, "a", capacity=PTU), deployment(well, "b", capacity=PTU)
    async with run_prober(*both) as probed:
        breaker = probed.deployment_states[0].breaker
        breaker.open("failures", probed.clock(), 30)
        await asyncio.sleep(0.05)
        assert broken.calls == []
        probed.clock.now += 31
        await wait_until(lambda: not breaker.is_tripped)
        assert len(broken.calls) == 2
        assert well.calls == []


async def test_a_probe_that_fails_keeps_the_breaker_open_for_longer() -> None:
    provider = ScriptedProvider([UpstreamUnavailable("still dead")])
    async with run_prober(deployment(provider, capacity=PTU)) as probed:
        breaker = probed.deployment_states[0].breaker
        breaker.open("failures", probed.clock(), 0)
        await wait_until(lambda: probed.notes.attempts)
        await wait_until(lambda: breaker.trip_count == 2)
        assert breaker.open_until > probed.clock() + 10
        assert len(provider.calls) == 1


async def test_without_the_lease_nobody_probes_a_broken_deployment() -> None:
    provider = ScriptedProvider()
    async with run_prober(deployment(provider, capacity=PTU)) as probed:
        probed.load_balancer.may_probe = lambda _: False
        probed.deployment_states[0].breaker.open("failures", probed.clock(), 0)
        probed.clock.now += 100
        await asyncio.sleep(0.05)
        assert provider.calls == []


async def test_cooling_down_deployment_is_not_probed() -> None:
    provider = ScriptedProvider()
    async with run_prober(deployment(provider, capacity=PTU)) as probed:
        probed.deployment_states[0].cool_down(120, probed.clock())
        probed.clock.now += 100
        await asyncio.sleep(0.05)
        assert provider.calls == []
        probed.clock.now += 21
        await wait_until(lambda: provider.calls)


async def test_rejected_probe_backs_off() -> None:
    provider = ScriptedProvider([InvalidRequest("max_tokens is too small")])
    async with run_prober(deployment(provider, capacity=PTU)) as probed:
        probed.deployment_states[0].breaker.open("failures", probed.clock(), 0)
        await wait_until(lambda: probed.notes.attempts)
        await asyncio.sleep(0.05)
        assert len(provider.calls) == 1
        assert probed.deployment_states[0].breaker.is_tripped
        probed.clock.now += 61
        await wait_until(lambda: len(provider.calls) == 2)


async def test_a_probe_without_an_answer_ends_in_time_and_others_do_not_wait_for_it() -> None:
    hangs, well = ScriptedProvider([asyncio.Event()]), ScriptedProvider()
    both = deployment(hangs, "a", capacity=PTU), deployment(well, "b", capacity=PTU)
    async with run_prober(*both) as probed:
        probed.clock.now += 61
        await wait_until(lambda: hangs.calls and well.calls)
        await wait_until(lambda: len(probed.notes.attempts) == 2)
        assert {a.error.code if a.error else None for a in probed.notes.attempts} == {
            None,
            "upstream_timeout",
        }


async def test_a_probe_under_way_is_called_off_at_the_end() -> None:
    provider = ScriptedProvider([asyncio.Event()])
    async with run_prober(deployment(provider, capacity=PTU)) as probed:
        probed.clock.now += 61
        await wait_until(lambda: provider.calls)
    assert probed.notes.attempts[0].cancelled
    assert probed.deployment_states[0].in_flight == 0
    assert provider.closed == 1


class ScriptedProbeProvider(ScriptedProvider):
    async def probe(self) -> None:
        self.calls.append("probe")


async def test_embeddings_are_probed_by_the_providers_own_means_or_by_one_word() -> None:
    own, word = ScriptedProbeProvider(), ScriptedProvider()
    both = deployment(own, "a", capacity=PTU), deployment(word, "b", capacity=PTU)
    async with run_prober(*both, operation="embeddings") as probed:
        probed.clock.now += 61
        await wait_until(lambda: len(probed.notes.attempts) == 2)
        assert own.calls == ["probe"]
        assert word.calls[0].inputs == (".",)


async def test_nothing_is_probed_by_default_and_what_is_does_not_count_as_a_call() -> None:
    async with run_server() as running:
        assert not running.hamlet.prober.is_running
    fleet = "fleet: {probe: all, probe_idle_s: 0.05}\n"
    async with run_server(EMBEDDED_PROVIDER + fleet + EMBEDDED_ROUTES) as running:
        assert running.hamlet.prober.is_running

        async def probed() -> bool:
            text = (await running.hamlet.metrics.render()).decode()
            assert "hamlet_calls_in_flight 0.0" in text
            assert "hamlet_request_duration_seconds_count" not in text
            return 'operation="probe"' in text

        await wait_until(probed)
