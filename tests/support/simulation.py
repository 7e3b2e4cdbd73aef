"""Simulated upstreams for tests: deployments on virtual time, or a served simulation."""

import time
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from typing import Any

from hamlet.core import ChatParams, ChatRequest, Message, Text
from hamlet.registry.plugins import Plugins
from hamlet.simulator import (
    Fault,
    SimulatedDeployment,
    SimulatedRuntime,
    SimulatorServer,
    World,
    marker,
)
from hamlet.simulator import virtual_time as virtual
from hamlet.testing.support import SilentLog

ADAPTER_KINDS = {"azure": "openai", "openai": "openai", "anthropic": "anthropic"}


def make_request(
    prompt_tokens: int = 100,
    output_tokens: int = 20,
    *,
    max_tokens: int | None = None,
    stream: bool = True,
    seed: int | None = None,
) -> ChatRequest:
    """A request that the simulator treats as one of these lengths."""
    text = marker(prompt_tokens, output_tokens, seed=seed)
    params = ChatParams(max_tokens=max_tokens) if max_tokens else ChatParams()
    return ChatRequest("gpt-4o", (Message("user", (Text(text),)),), params=params, stream=stream)


def make_adapter(world: World, spec: SimulatedDeployment) -> Any:
    """The real adapter of the deployment's wire, with a transport into the simulation."""
    plugin = Plugins().load(ADAPTER_KINDS[spec.wire])
    suffix = "" if spec.wire == "anthropic" else "/v1"
    settings = plugin.Settings(base_url=f"http://simulated/{spec.name}{suffix}")
    return plugin(settings, SimulatedRuntime(world, SilentLog()))


def run_on_virtual_time(
    scenario: Any, *specs: SimulatedDeployment, faults: Iterable[Fault] = (), seed: int = 1
):
    """Run `scenario(world, loop)` on virtual time, over a simulation of these deployments."""

    async def main() -> Any:
        import asyncio

        loop = asyncio.get_running_loop()
        return await scenario(World(specs, seed=seed, clock=loop.time, faults=faults), loop)

    return virtual.run(main(), seed)


@asynccontextmanager
async def serve_simulation(
    *specs: SimulatedDeployment, faults: Iterable[Fault] = (), seed: int = 1, ports: str = "one"
) -> AsyncIterator[SimulatorServer]:
    """A served simulation of these deployments."""
    world = World(specs, seed=seed, clock=time.monotonic, faults=faults)
    async with SimulatorServer(world, ports=ports) as server:
        yield server
