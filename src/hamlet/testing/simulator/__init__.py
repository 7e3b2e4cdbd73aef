"""A fleet of vendors that never were: over HTTP on loopback, or in memory on virtual time.

One model of a deployment (`engine`) serves both. `server` plays it over the OpenAI, Azure and
Anthropic wires; `transport` puts it behind hamlet's transport seam, where `virtual` lets time jump
and `harness` plays a trace against the real gateway. `python -m hamlet.testing.simulator` serves.
"""

from hamlet.testing.simulator.asks import marker
from hamlet.testing.simulator.faults import Fault, chaos, read_faults
from hamlet.testing.simulator.server import SimulatorServer
from hamlet.testing.simulator.spec import Latency, Payg, Ptu, Simulated, measured
from hamlet.testing.simulator.transport import SimulatedRuntime, SimulatedTransport
from hamlet.testing.simulator.virtual import Stuck, VirtualLoop
from hamlet.testing.simulator.world import World

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
