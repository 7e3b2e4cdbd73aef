"""A fleet of vendors that never were: over HTTP on loopback, or in memory on virtual time.

One model of a deployment (`engine`) serves both. `server` plays it over the OpenAI, Azure and
Anthropic wires; `transport` puts it behind hamlet's transport seam, where `virtual` lets time jump
and `harness` plays a trace against the real gateway. `python -m hamlet.simulator` serves.
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
