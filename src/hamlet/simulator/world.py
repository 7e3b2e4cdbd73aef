"""All simulated deployments: a path and a body in, a response timeline out."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Sequence
from typing import Any
from urllib.parse import unquote, urlsplit

from hamlet.simulator.engine import DeploymentEngine
from hamlet.simulator.faults import Fault, FaultSchedule
from hamlet.simulator.response_timeline import ResponseTimeline, full_response
from hamlet.simulator.simulated_request import parse_request
from hamlet.simulator.spec import SimulatedDeployment
from hamlet.simulator.wire_frames import frames_for

_DEPLOYMENTS = "/openai/deployments/"


class World:
    """The deployments and their faults. The same seed, requests and times give the same answers.

    `clock` returns seconds. Each deployment has its own random generator, so that traffic to one
    does not change the results of another. Raises ValueError if two have the same id.
    """

    def __init__(
        self,
        specs: Iterable[SimulatedDeployment],
        *,
        seed: int,
        clock: Callable[[], float],
        faults: Iterable[Fault] = (),
    ) -> None:
        self.clock = clock
        self._schedule = FaultSchedule(faults, clock())
        self.engines: dict[str, DeploymentEngine] = {}
        self._engines_by_name: dict[str, list[DeploymentEngine]] = {}
        for spec in specs:
            if spec.id in self.engines:
                raise ValueError(f"two simulated deployments are called {spec.id}")
            engine = DeploymentEngine(spec, self._schedule, random.Random(f"{seed}:{spec.id}"))
            self.engines[spec.id] = engine
            self._engines_by_name.setdefault(spec.name, []).append(engine)

    @property
    def names(self) -> Sequence[str]:
        """The first path segments, in order of definition."""
        return list(self._engines_by_name)

    def set_faults(self, faults: Iterable[Fault]) -> None:
        """Replace the faults; the times of the new ones count from now."""
        self._schedule.replace(faults, self.clock())

    def state(self) -> dict[str, dict[str, Any]]:
        """Counters and utilisation of each deployment, by id."""
        now = self.clock()
        return {id_: engine.state(now) for id_, engine in self.engines.items()}

    def respond(self, method: str, target: str, body: bytes) -> ResponseTimeline:
        """The response to a request for `target`: /NAME/ and the vendor's own path."""
        path = urlsplit(target).path
        _, _, rest = path.partition("/")
        name, _, rest = rest.partition("/")
        engines = self._engines_by_name.get(unquote(name))
        if not engines:
            return full_response(404, b'{"error":{"message":"no such simulated deployment"}}')
        if method == "GET" and path.endswith("/models"):
            return engines[0].list_models(self.clock())
        return self._respond_chat(engines, "/" + rest, body)

    def _respond_chat(
        self, engines: list[DeploymentEngine], path: str, body: bytes
    ) -> ResponseTimeline:
        wire = engines[0].spec.wire
        frames = frames_for(wire)
        if not path.endswith("/v1/messages" if wire == "anthropic" else "/chat/completions"):
            return full_response(
                404, frames.error_body(404, "not_found", "There is nothing at this path.")
            )
        try:
            request = parse_request(body)
        except ValueError as error:
            return full_response(400, frames.error_body(400, "invalid_request", str(error)))
        model = request.model
        if path.startswith(_DEPLOYMENTS):
            model = unquote(path.removeprefix(_DEPLOYMENTS).partition("/")[0])
        for engine in engines:
            if engine.spec.model == model:
                return engine.respond(request, self.clock())
        code = "DeploymentNotFound" if wire == "azure" else "model_not_found"
        return full_response(404, frames.error_body(404, code, "The model does not exist."))
