"""How what processes learn becomes common knowledge. Knows nothing of how it travels."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

import msgspec

from hamlet.registry import Deployment
from hamlet.routing.deployment_state import Condition
from hamlet.routing.gossip.message import Standing, Tidings
from hamlet.routing.load_balancer import Fleet, News

_ALIVE_S = 3.0
_GENEROUS = 1.1


class Exchange:
    """Makes tidings of a fleet's news, and takes in those of other processes.

    Cooldowns merge to the longer, breakers to the newer, ledgers to the sum of all processes'
    charges. What was heard is not passed on: each wait would grow by its travel, for ever.
    """

    def __init__(
        self, fleet: Fleet, name: str, deployments: Callable[[], Iterable[Deployment]]
    ) -> None:
        """`name` tells this process from others."""
        self.name = name
        self.processes = 1
        self._fleet = fleet
        self._deployments = deployments
        self._peers: dict[str, float] = {}
        self._numbers: dict[str, int] = {}
        self._number = 0
        self._unsent: Tidings | None = None
        self._heard: dict[str, tuple[float, float]] = {}
        fleet.news = News()

    # -- what to say

    def tidings(self, *, whole: bool = False) -> Tidings | None:
        """What others have not heard of, or, if `whole`, all that is not as at the start.

        It stays unsaid, and comes again with the next, until `sent`. None if there is nothing.
        """
        news, self._fleet.news = self._fleet.news or News(), News()
        unsent = self._unsent or Tidings(self.name, 0)
        for id_, (cost, calls) in unsent.charges.items():
            news.costs[id_] += cost
            news.calls[id_] += calls
        charges = {id_: (cost, news.calls[id_]) for id_, cost in news.costs.items()}
        touched = self._known() if whole else news.touched | unsent.standings.keys()
        standings = {id_: self._standing(id_) for id_ in touched}
        if whole:
            standings = {id_: said for id_, said in standings.items() if said != Standing()}
        self._number += 1
        self._unsent = Tidings(self.name, self._number, charges, standings)
        return self._unsent if whole or charges or standings else None

    def sent(self) -> None:
        """The last tidings have arrived."""
        self._unsent = None
        now = self._fleet.clock()
        self._peers = {name: at for name, at in self._peers.items() if now - at <= _ALIVE_S}
        self.processes = 1 + len(self._peers)

    def snapshot(self) -> Tidings:
        """All that is known, for a process that starts or returns."""
        now = self._fleet.clock()
        conditions = self._fleet.conditions.items()
        standings = {id_: c.standing(now) for id_, c in conditions}
        levels = {id_: c.ledger.levels(now) for id_, c in conditions}
        return Tidings(self.name, self._number, {}, standings, levels)

    def _standing(self, id_: str) -> Standing:
        condition = self._fleet.conditions[id_]
        said = condition.standing(self._fleet.clock())
        cooldown, penalty = self._heard.get(id_, (0.0, 0.0))
        return msgspec.structs.replace(
            said,
            cooldown_s=said.cooldown_s if condition.cooldown_until > cooldown else 0.0,
            penalty_s=said.penalty_s if condition.penalty_until > penalty else 0.0,
        )

    def _known(self) -> Iterable[str]:
        """The ids of all deployments, those without traffic too."""
        for deployment in self._deployments():
            self._fleet.condition(deployment)
        return self._fleet.conditions

    # -- what to hear

    def absorb(self, tidings: Tidings) -> None:
        """Take in what another process says; what we have heard already changes nothing."""
        if tidings.sender == self.name or tidings.number <= self._numbers.get(tidings.sender, -1):
            return
        now = self._fleet.clock()
        self._numbers[tidings.sender] = tidings.number
        self._peers[tidings.sender] = now
        for id_, (cost, calls) in tidings.charges.items():
            if condition := self._fleet.conditions.get(id_):
                condition.ledger.charge(cost, calls, now)
                condition.used_at = now if calls else condition.used_at
        self._take_in(tidings.standings)

    def _take_in(self, standings: Mapping[str, Standing]) -> None:
        for id_, said in standings.items():
            condition = self._fleet.conditions.get(id_)
            if condition is None:
                continue
            before = condition.cooldown_until, condition.penalty_until
            self._fleet.absorb(condition, said)
            after = condition.cooldown_until, condition.penalty_until
            if after != before:
                self._heard[id_] = after

    # -- coming and going

    def join(self, others: Iterable[Tidings], *, alone: bool) -> None:
        """Begin with what `others` know, by their snapshots.

        If this process was `alone`, its ledgers hold its own charges, of which others have not
        heard; else they hold everybody's already, or had better.
        """
        list(self._known())
        self.share(1.0)
        # Who was silent because we were away is not gone for that.
        self._peers = dict.fromkeys(self._peers, self._fleet.clock())
        levels: dict[str, tuple[float, float]] = {}
        for tidings in others:
            if tidings.sender == self.name:
                continue
            self._numbers[tidings.sender] = tidings.number
            self._peers[tidings.sender] = self._fleet.clock()
            self._take_in(tidings.standings)
            for id_, (cost, calls) in tidings.levels.items():
                most = levels.get(id_, (0.0, 0.0))
                levels[id_] = max(cost, most[0]), max(calls, most[1])
        for id_, condition in self._fleet.conditions.items():
            self._level(condition, levels.get(id_, (0.0, 0.0)), alone=alone)

    def _level(self, condition: Condition, theirs: tuple[float, float], *, alone: bool) -> None:
        now, id_ = self._fleet.clock(), condition.deployment_id
        ours = condition.ledger.levels(now)
        if alone:
            condition.ledger.charge(*theirs, now)
            assert self._fleet.news is not None, "an exchange has news"
            if any(ours):
                self._fleet.news.costs[id_], self._fleet.news.calls[id_] = ours
        else:
            cost, calls = max(0.0, theirs[0] - ours[0]), max(0.0, theirs[1] - ours[1])
            condition.ledger.charge(cost, calls, now)

    def part(self) -> None:
        """Nobody can be heard any more: this process has its share of each deployment's capacity.

        Called again it keeps to that, whatever a reload brought, and forgets news nobody hears.
        """
        list(self._known())
        self.share(min(1.0, _GENEROUS / self.processes))
        self._fleet.news, self._unsent = News(), None

    def share(self, part: float) -> None:
        """Have this part of all capacity."""
        now = self._fleet.clock()
        for condition in self._fleet.conditions.values():
            condition.ledger.share(part, now)
