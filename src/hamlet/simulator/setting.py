"""A configuration file made ready to be simulated, as often as wanted."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hamlet.config import ConfigError, Loaded, Problem, suggestion
from hamlet.runtime import SilentLog
from hamlet.simulator.fleet import read_for_simulation, simulated_registry
from hamlet.simulator.harness import Plan, brisk, simulate
from hamlet.simulator.report import Report
from hamlet.simulator.spec import Simulated
from hamlet.simulator.statistics import places_of
from hamlet.simulator.traces import Arrival, between, generated, read_trace
from hamlet.simulator.world import World

_USUAL = "chat"


class Scene:
    """The fleet of a configuration that is pointed at a simulation, and what it names."""

    def __init__(self, loaded: Loaded, specs: Sequence[Simulated]) -> None:
        self._loaded = loaded
        self.specs = brisk(specs)
        world = World(self.specs, seed=0, clock=lambda: 0.0)
        registry = simulated_registry(loaded, world, SilentLog())
        if not specs:
            source = loaded.source
            line, message = source.line(("providers",)), "there is no vendor that can be played"
            raise ConfigError(source.name, [Problem("providers", line, message)])
        self.routes = [r.name for r in registry.routes.values() if r.operation == "chat"]
        self.places = places_of(registry, loaded.config.fleet.home)

    @classmethod
    def read(cls, file: Path) -> Scene:
        """The fleet of a file. Raises ConfigError with every fault and its line."""
        return cls(*read_for_simulation(file))

    def plan(self, routes: Sequence[str]) -> Plan:
        """How arrivals become calls: `routes` holds one route for all, and CLASS=ROUTE.

        Raises ValueError with the choice there is.
        """
        by_class: dict[str, str] = {}
        usual = _USUAL if _USUAL in self.routes else self.routes[0]
        for text in routes:
            kind, found, name = text.rpartition("=")
            if name not in self.routes:
                near = suggestion(name, self.routes)
                raise ValueError(f"no chat route {name!r}{near}; there is: {self._choice}")
            if found:
                by_class[kind] = name
            else:
                usual = name
        return Plan(route=lambda arrival: by_class.get(arrival.kind, usual))

    def play(self, arrivals: Sequence[Arrival], seed: int, **options: Any) -> Report:
        """One run on virtual time with the options of Run: the same arguments, the same report."""
        return simulate(self._loaded, arrivals, seed=seed, specs=self.specs, **options)

    @property
    def _choice(self) -> str:
        return ", ".join(self.routes)


def load_of(trace: Path | None, seconds: float, rpm: float, seed: int) -> list[Arrival]:
    """The first `seconds` of a trace file, or of a trace with the shape of the 750 rpm mix.

    Raises OSError, or ValueError if it has no row, or a bad one.
    """
    whole = read_trace(trace) if trace else generated(seed, seconds, rpm)
    arrivals = between(whole, 0, seconds)
    if not arrivals:
        raise ValueError(f"{trace.name if trace else 'the trace'}: no request in {seconds:g} s")
    return arrivals
