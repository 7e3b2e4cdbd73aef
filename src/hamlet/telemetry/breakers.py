"""Log lines for breakers that open and close."""

from __future__ import annotations

from hamlet.fleet import Fleet
from hamlet.gateway import Attempt, Observer, Record
from hamlet.spi import Log


class BreakerLog(Observer):
    """Looks at a deployment's breaker after each of its attempts and answers."""

    def __init__(self, fleet: Fleet, log: Log) -> None:
        self._fleet = fleet
        self._log = log
        self._epochs: dict[str, int] = {}

    def on_attempt(self, record: Record, attempt: Attempt) -> None:
        self._look(attempt.deployment.id)

    def on_end(self, record: Record) -> None:
        if record.deployment is not None:
            self._look(record.deployment.id)

    def _look(self, id_: str) -> None:
        condition = self._fleet.conditions.get(id_)
        if condition is None or condition.breaker.epoch == self._epochs.get(id_, 0):
            return
        breaker, now = condition.breaker, self._fleet.clock()
        self._epochs[id_] = breaker.epoch
        self._log.warning(
            "breaker.changed",
            deployment=id_,
            state=breaker.state(now),
            reason=breaker.reason,
            opens_in_s=round(max(0.0, breaker.until - now), 1) if breaker.opened else None,
            in_a_row=breaker.trips,
        )
