"""A fleet of vendors that never were: over HTTP on loopback, or in memory on virtual time.

One model of a deployment (`engine`) serves both. `server` plays it over the OpenAI, Azure and
Anthropic wires; `transport` puts it behind hamlet's transport seam, where `virtual` lets time jump
and `harness` plays a trace against the real gateway. `python -m hamlet.simulator` serves.
"""

from hamlet.simulator.faults import Fault, chaos, read_faults
from hamlet.simulator.requests import marker
from hamlet.simulator.server import SimulatorServer
from hamlet.simulator.spec import Latency, Payg, Ptu, Simulated, measured
from hamlet.simulator.transport import SimulatedRuntime, SimulatedTransport
from hamlet.simulator.virtual_time import Stuck, VirtualLoop
from hamlet.simulator.world import World

__all__ = [
    "Fault",
    "Latency",
    "Payg",
    "Ptu",
    "Simulated",
    "SimulatedRuntime",
    "SimulatedTransport",
    "SimulatorServer",
    "Stuck",
    "VirtualLoop",
    "World",
    "chaos",
    "marker",
    "measured",
    "read_faults",
]
