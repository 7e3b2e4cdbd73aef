"""Simulated vendors: over HTTP on loopback, or in memory on virtual time.

One model of a deployment (`engine`) serves both. `server` speaks the OpenAI, Azure and Anthropic
wire formats; `transport` replaces hamlet's HTTP transport, so that with `virtual_time` the
`harness` replays a trace against the real gateway in seconds. `python -m hamlet.testing.simulator`
serves.
"""

from hamlet.simulator.faults import Fault, parse_faults, random_faults
from hamlet.simulator.server import SimulatorServer
from hamlet.simulator.simulated_request import marker
from hamlet.simulator.spec import Latency, Payg, Ptu, SimulatedDeployment, load_latency
from hamlet.simulator.transport import SimulatedRuntime, SimulatedTransport
from hamlet.simulator.virtual_time import DeadlockError, VirtualLoop
from hamlet.simulator.world import World

__all__ = [
    "DeadlockError",
    "Fault",
    "Latency",
    "Payg",
    "Ptu",
    "SimulatedDeployment",
    "SimulatedRuntime",
    "SimulatedTransport",
    "SimulatorServer",
    "VirtualLoop",
    "World",
    "load_latency",
    "marker",
    "parse_faults",
    "random_faults",
]
