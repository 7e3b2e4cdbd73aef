"""Active probes of idle deployments, and of tripped ones before calls go there."""

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
    """A gateway with a prober that runs every two milliseconds."""

    def __init__(self, *deployments: Deployment, operation="chat", **fleet: Any) -> None:
        self.clock, self.observer = ManualClock(), RecordingObserver()
        self.load_balancer = LoadBalancer(self.clock)
        self.holder = RegistryHolder(self.registry(deployments, operation, fleet))
        gateway = Gateway(
            self.holder,
            Admission(10),
            Observers([self.observer], RecordingLog()),
            self.load_balancer,
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


async def test_idle_deployment_gets_one_probe_of_one_token() -> None:
    provider = ScriptedProvider()
    async with run_prober(deployment(provider, capacity=PTU)) as probed:
        await asyncio.sleep(0.05)
        assert provider.calls == []
        probed.clock.now += 61
        await wait_until(lambda: probed.observer.attempts)
        await asyncio.sleep(0.05)
        (call,) = provider.calls
        assert call.params.max_tokens == 1
        assert call.model == "m"
        assert probed.observer.attempts[0].error is None
        assert probed.observer.started == probed.observer.ended == []
        (state,) = probed.deployment_states
        assert state.in_flight == 0
        assert state.capacity_model.undrained_levels(probed.clock())[0] == pytest.approx(4)


async def test_configuration_selects_probed_deployments() -> None:
    async with run_prober(deployment(ScriptedProvider())) as probed:
        assert not probed.prober.is_running
    async with run_prober(deployment(ScriptedProvider(), capacity=PTU), probe="off") as probed:
        assert not probed.prober.is_running
    provider = ScriptedProvider()
    async with run_prober(deployment(provider), probe="all") as probed:
        probed.clock.now += 61
        await wait_until(lambda: provider.calls)


async def test_reload_starts_and_stops_prober() -> None:
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


async def test_probe_closes_circuit_breaker() -> None:
    tripped, healthy = ScriptedProvider(), ScriptedProvider()
    both = deployment(tripped, "a", capacity=PTU), deployment(healthy, "b", capacity=PTU)
    async with run_prober(*both) as probed:
        breaker = probed.deployment_states[0].breaker
        breaker.open("failures", probed.clock(), 30)
        await asyncio.sleep(0.05)
        assert tripped.calls == []
        probed.clock.now += 31
        await wait_until(lambda: not breaker.is_tripped)
        assert len(tripped.calls) == 2
        assert healthy.calls == []


async def test_failed_probe_extends_open_circuit_breaker() -> None:
    provider = ScriptedProvider([UpstreamUnavailable("still dead")])
    async with run_prober(deployment(provider, capacity=PTU)) as probed:
        breaker = probed.deployment_states[0].breaker
        breaker.open("failures", probed.clock(), 0)
        await wait_until(lambda: probed.observer.attempts)
        await wait_until(lambda: breaker.trip_count == 2)
        assert breaker.open_until > probed.clock() + 10
        assert len(provider.calls) == 1


async def test_tripped_deployment_is_not_probed_without_lease() -> None:
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
        await wait_until(lambda: probed.observer.attempts)
        await asyncio.sleep(0.05)
        assert len(provider.calls) == 1
        assert probed.deployment_states[0].breaker.is_tripped
        probed.clock.now += 61
        await wait_until(lambda: len(provider.calls) == 2)


async def test_hanging_probe_times_out_and_does_not_delay_others() -> None:
    hanging, healthy = ScriptedProvider([asyncio.Event()]), ScriptedProvider()
    both = deployment(hanging, "a", capacity=PTU), deployment(healthy, "b", capacity=PTU)
    async with run_prober(*both) as probed:
        probed.clock.now += 61
        await wait_until(lambda: hanging.calls and healthy.calls)
        await wait_until(lambda: len(probed.observer.attempts) == 2)
        assert {a.error.code if a.error else None for a in probed.observer.attempts} == {
            None,
            "upstream_timeout",
        }


async def test_close_cancels_probe_in_flight() -> None:
    provider = ScriptedProvider([asyncio.Event()])
    async with run_prober(deployment(provider, capacity=PTU)) as probed:
        probed.clock.now += 61
        await wait_until(lambda: provider.calls)
    assert probed.observer.attempts[0].cancelled
    assert probed.deployment_states[0].in_flight == 0
    assert provider.closed == 1


class ScriptedProbeProvider(ScriptedProvider):
    async def probe(self) -> None:
        self.calls.append("probe")


async def test_embeddings_probe_uses_provider_probe_or_one_input() -> None:
    with_probe, without_probe = ScriptedProbeProvider(), ScriptedProvider()
    both = deployment(with_probe, "a", capacity=PTU), deployment(without_probe, "b", capacity=PTU)
    async with run_prober(*both, operation="embeddings") as probed:
        probed.clock.now += 61
        await wait_until(lambda: len(probed.observer.attempts) == 2)
        assert with_probe.calls == ["probe"]
        assert without_probe.calls[0].inputs == (".",)


async def test_probing_is_off_by_default_and_probes_are_not_calls() -> None:
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
