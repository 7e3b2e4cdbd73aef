"""Simulated upstreams for tests: one deployment on virtual time, or a served world."""

import time
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from typing import Any

from hamlet.core import ChatParams, ChatRequest, Message, Text
from hamlet.registry.plugins import Plugins
from hamlet.simulator import Fault, Simulated, SimulatedRuntime, SimulatorServer, World, marker
from hamlet.simulator import virtual_time as virtual
from hamlet.testing.support import SilentLog

KINDS = {"azure": "openai", "openai": "openai", "anthropic": "anthropic"}


def asking(
    prompt: int = 100,
    output: int = 20,
    *,
    limit: int | None = None,
    stream: bool = True,
    seed: int | None = None,
) -> ChatRequest:
    """A request that pretends to be so long."""
    text = marker(prompt, output, seed=seed)
    params = ChatParams(max_tokens=limit) if limit else ChatParams()
    return ChatRequest("gpt-4o", (Message("user", (Text(text),)),), params=params, stream=stream)


def adapter(world: World, spec: Simulated) -> Any:
    """The real adapter of the deployment's wire, its transport leading into the world."""
    plugin = Plugins().load(KINDS[spec.wire])
    bare = spec.wire == "anthropic"
    settings = plugin.Settings(base_url=f"http://simulated/{spec.name}{'' if bare else '/v1'}")
    return plugin(settings, SimulatedRuntime(world, SilentLog()))


def on_virtual_time(play: Any, *specs: Simulated, faults: Iterable[Fault] = (), seed: int = 1):
    """Run `play(world, loop)` on a virtual loop, over a world of these deployments."""

    async def main() -> Any:
        import asyncio

        loop = asyncio.get_running_loop()
        return await play(World(specs, seed=seed, clock=loop.time, faults=faults), loop)

    return virtual.run(main(), seed)


@asynccontextmanager
async def playing(
    *specs: Simulated, faults: Iterable[Fault] = (), seed: int = 1, ports: str = "one"
) -> AsyncIterator[SimulatorServer]:
    """A served world of these deployments."""
    world = World(specs, seed=seed, clock=time.monotonic, faults=faults)
    async with SimulatorServer(world, ports=ports) as server:
        yield server
