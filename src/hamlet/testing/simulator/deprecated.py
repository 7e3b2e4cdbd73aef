"""Public names of the simulator that have changed. The old ones work for one more release."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar

from hamlet import simulator
from hamlet.core.deprecation import warn_renamed


class _RenamedFields:
    """Accepts old names of constructor arguments and attributes, with a warning."""

    __slots__ = ()
    _renamed: ClassVar[Mapping[str, str]] = {}

    def __init_subclass__(cls, *, renamed: Mapping[str, str]) -> None:
        super().__init_subclass__()
        cls._renamed = renamed

    def __init__(self, *args: Any, **fields: Any) -> None:
        for old, new in self._renamed.items():
            if old in fields:
                fields[new] = fields.pop(old)
                self._warn(old, new)
        super().__init__(*args, **fields)

    def __getattr__(self, name: str) -> Any:
        new = type(self)._renamed.get(name)
        if new is None:
            raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")
        self._warn(name, new)
        return getattr(self, new)

    def _warn(self, old: str, new: str) -> None:
        owner = f"hamlet.testing.simulator.{type(self).__name__}"
        warn_renamed(f"{owner}.{old}", f"{owner}.{new}", stacklevel=4)


if TYPE_CHECKING:
    from hamlet.simulator import Latency as Latency
    from hamlet.simulator import Payg as Payg
    from hamlet.simulator import Ptu as Ptu
    from hamlet.simulator import SimulatedDeployment as SimulatedDeployment
    from hamlet.simulator import World as World
else:

    class _Ptu(
        _RenamedFields,
        simulator.Ptu,
        renamed={
            "unstated_output": "default_output_tokens",
            "tells_utilisation": "reports_utilisation",
            "depth": "depth_tokens",
        },
    ):
        __slots__ = ()
        __doc__ = simulator.Ptu.__doc__

    class _Payg(
        _RenamedFields, simulator.Payg, renamed={"unstated_output": "default_output_tokens"}
    ):
        __slots__ = ()
        __doc__ = simulator.Payg.__doc__

    class _Latency(
        _RenamedFields,
        simulator.Latency,
        renamed={"rows": "samples", "draw": "sample", "slower": "slowed_by"},
    ):
        __slots__ = ()
        __doc__ = simulator.Latency.__doc__

    class _SimulatedDeployment(
        _RenamedFields,
        simulator.SimulatedDeployment,
        renamed={"answer_tokens": "default_output_tokens"},
    ):
        __slots__ = ()
        __doc__ = simulator.SimulatedDeployment.__doc__

    class _World(_RenamedFields, simulator.World, renamed={"answer": "respond"}):
        __doc__ = simulator.World.__doc__

    Ptu, Payg, Latency = _Ptu, _Payg, _Latency
    SimulatedDeployment, World = _SimulatedDeployment, _World


_RENAMED: Mapping[str, tuple[str, object]] = {
    "Simulated": ("SimulatedDeployment", SimulatedDeployment),
    "Stuck": ("DeadlockError", simulator.DeadlockError),
    "chaos": ("random_faults", simulator.random_faults),
    "measured": ("load_latency", simulator.load_latency),
    "read_faults": ("parse_faults", simulator.parse_faults),
}


def resolve(name: str) -> object:
    """The object of an old public name; warns. Raises AttributeError."""
    if name not in _RENAMED:
        raise AttributeError(f"module 'hamlet.testing.simulator' has no attribute {name!r}")
    new, value = _RENAMED[name]
    warn_renamed(f"hamlet.testing.simulator.{name}", new, stacklevel=4)
    return value
