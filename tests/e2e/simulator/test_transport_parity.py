"""In memory and over sockets the simulator shows an adapter the same."""

import asyncio

import pytest

from hamlet.core import Started, errors
from hamlet.registry.plugins import Plugins
from hamlet.simulator import Fault, Latency, Ptu, SimulatedDeployment
from hamlet.simulator.faults import FAULT_KINDS
from hamlet.testing.support import host_runtime
from support.simulation import ADAPTER_KINDS as PLUGINS
from support.simulation import make_adapter, make_request, run_on_virtual_time, serve_simulation

QUICK = Latency(0.001, 0.1, 0.0002, 0.1)
FULL = Ptu(24, 2500, 3.0, depth_s=0.001)
# Where a socket has no way to show a difference, the transport in memory has one.
FAULTS = [Fault(kind, after=after) for kind in FAULT_KINDS if kind != "refused" for after in (0, 2)]


async def observe_outcome(provider, request):
    """Everything of a call that hamlet goes by."""
    seen = []
    try:
        async for event in provider.chat(request):
            # Azure's first event has no id, and the adapter makes one up.
            if not isinstance(event, Started):
                seen.append(event)
    except errors.ProviderError as error:
        return seen, type(error), error.phase, error.upstream_status, error.retry_after
    return seen, None, None, None, None


def run_over_sockets(spec: SimulatedDeployment, fault: Fault, request):
    async def main():
        async with serve_simulation(spec, faults=[fault]) as server:
            plugin, host = Plugins().load(PLUGINS[spec.wire]), host_runtime()
            base = f"{server.url}/{spec.name}{'' if spec.wire == 'anthropic' else '/v1'}"
            try:
                provider = plugin(plugin.Settings(base_url=base, idle_timeout_s=0.15), host)
                async with asyncio.timeout(1.0):
                    return await observe_outcome(provider, request)
            except TimeoutError:
                return "for ever"
            finally:
                await host.aclose()

    return asyncio.run(main())


def run_in_memory(spec: SimulatedDeployment, fault: Fault, request):
    async def play(world, loop):
        try:
            async with asyncio.timeout(200.0):
                return await observe_outcome(make_adapter(world, spec), request)
        except TimeoutError:
            return "for ever"

    return run_on_virtual_time(play, spec, faults=[fault])


@pytest.mark.parametrize("stream", [True, False], ids=["stream", "whole"])
@pytest.mark.parametrize("wire", ["azure", "anthropic"])
@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: f"{fault.kind}-{fault.after}")
def test_a_fault_shows_the_same_both_ways(fault, wire, stream) -> None:
    spec = SimulatedDeployment("d", "gpt-4o", wire, latency=QUICK)
    request = make_request(10, 20, max_tokens=50, stream=stream)
    virtual = run_in_memory(spec, fault, request)
    real = run_over_sockets(spec, fault, request)
    if fault.kind == "pings" and real != virtual:
        # Pings come every five seconds: a socket that waits a fraction of that sees silence.
        assert real[1] is errors.UpstreamTimeout
        return
    assert real == virtual


@pytest.mark.parametrize("wire", ["azure", "anthropic"])
def test_a_refusal_shows_the_same_both_ways(wire) -> None:
    spec = SimulatedDeployment("d", "gpt-4o", wire, latency=QUICK)
    fault = Fault("status", status=429, retry_after="7")
    request = make_request()
    assert run_over_sockets(spec, fault, request) == run_in_memory(spec, fault, request)
