"""The public names of the simulator, which is `hamlet.simulator`.

The names, arguments and attributes of the release before work for one more release, with a
DeprecationWarning. Modules are not public: those of the release before are in `hamlet.simulator`.
"""

from typing import TYPE_CHECKING

from hamlet.simulator import (
    DeadlockError,
    Fault,
    SimulatedRuntime,
    SimulatedTransport,
    SimulatorServer,
    VirtualLoop,
    load_latency,
    marker,
    parse_faults,
    random_faults,
)
from hamlet.testing.simulator.deprecated import Latency, Payg, Ptu, SimulatedDeployment, World

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

if not TYPE_CHECKING:

    def __getattr__(name: str) -> object:
        """The names of the release before."""
        from hamlet.testing.simulator.deprecated import resolve

        return resolve(name)
