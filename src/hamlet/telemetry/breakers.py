"""Log lines for breakers that open and close."""

from __future__ import annotations

from hamlet.routing import Fleet
from hamlet.routing.deployment_state import Condition
from hamlet.spi import Log


class BreakerLog:
    """Tells of a deployment's breaker when it has changed, whoever learned of it."""

    def __init__(self, fleet: Fleet, log: Log) -> None:
        self._fleet = fleet
        self._log = log
        self._epochs: dict[str, int] = {}
        fleet.watch = self._look

    def _look(self, condition: Condition) -> None:
        id_, breaker = condition.deployment_id, condition.breaker
        if breaker.epoch == self._epochs.get(id_, 0):
            return
        now = self._fleet.clock()
        self._epochs[id_] = breaker.epoch
        self._log.warning(
            "breaker.changed",
            deployment=id_,
            state=breaker.state(now),
            reason=breaker.reason,
            opens_in_s=round(max(0.0, breaker.until - now), 1) if breaker.opened else None,
            in_a_row=breaker.trips,
        )
