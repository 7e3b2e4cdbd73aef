"""A configuration file prepared for any number of simulation runs."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hamlet.config import ConfigError, ConfigProblem, LoadedConfig, did_you_mean
from hamlet.runtime import SilentLog
from hamlet.simulator.arrival_traces import Arrival, generate_trace, read_trace, slice_trace
from hamlet.simulator.configuration import read_for_simulation, simulated_registry
from hamlet.simulator.harness import TrafficPlan, simulate, with_coarse_frames
from hamlet.simulator.load_breakdown import pricing_by_deployment
from hamlet.simulator.report import SimulationReport
from hamlet.simulator.spec import SimulatedDeployment
from hamlet.simulator.world import World

_DEFAULT_ROUTE = "chat"


class Simulation:
    """The simulated deployments of a configuration, with its routes and prices."""

    def __init__(self, loaded: LoadedConfig, specs: Sequence[SimulatedDeployment]) -> None:
        self._loaded = loaded
        self.specs = with_coarse_frames(specs)
        world = World(self.specs, seed=0, clock=lambda: 0.0)
        registry = simulated_registry(loaded, world, SilentLog())
        if not specs:
            source = loaded.source
            line, message = (
                source.line_of(("providers",)),
                "there is no vendor that can be simulated",
            )
            raise ConfigError(source.name, [ConfigProblem("providers", line, message)])
        self.routes = [r.name for r in registry.routes.values() if r.operation == "chat"]
        self.pricing = pricing_by_deployment(registry, loaded.config.fleet.home)

    @classmethod
    def from_file(cls, file: Path) -> Simulation:
        """Prepare a file. Raises ConfigError with every problem and its line."""
        return cls(*read_for_simulation(file))

    def traffic_plan(self, routes: Sequence[str]) -> TrafficPlan:
        """The plan for `routes`: ROUTE for all arrivals, CLASS=ROUTE for those of a class.

        Raises ValueError with the existing routes for an unknown one.
        """
        by_class: dict[str, str] = {}
        default_route = _DEFAULT_ROUTE if _DEFAULT_ROUTE in self.routes else self.routes[0]
        for text in routes:
            kind, is_class_rule, name = text.rpartition("=")
            if name not in self.routes:
                hint = did_you_mean(name, self.routes)
                raise ValueError(f"no chat route {name!r}{hint}; there is: {self._route_choices}")
            if is_class_rule:
                by_class[kind] = name
            else:
                default_route = name
        return TrafficPlan(route=lambda arrival: by_class.get(arrival.kind, default_route))

    def run(self, arrivals: Sequence[Arrival], seed: int, **options: Any) -> SimulationReport:
        """One run on virtual time. The same arguments give the same report.

        `options` are those of SimulationRun.
        """
        return simulate(self._loaded, arrivals, seed=seed, specs=self.specs, **options)

    @property
    def _route_choices(self) -> str:
        return ", ".join(self.routes)


def load_arrivals(trace: Path | None, seconds: float, rpm: float, seed: int) -> list[Arrival]:
    """The first `seconds` of a trace file, or of a generated trace.

    Raises OSError, and ValueError if the trace has an invalid row or none.
    """
    trace_arrivals = read_trace(trace) if trace else generate_trace(seed, seconds, rpm)
    arrivals = slice_trace(trace_arrivals, 0, seconds)
    if not arrivals:
        raise ValueError(f"{trace.name if trace else 'the trace'}: no request in {seconds:g} s")
    return arrivals
