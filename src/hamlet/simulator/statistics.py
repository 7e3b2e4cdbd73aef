"""What a run adds up to by tier and over time: who carried the load, and what it cost."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain

from hamlet.core import Price
from hamlet.registry import Deployment, Registry, Reserved
from hamlet.simulator.report import Outcome, Report

_OUTPUT_WEIGHT = 3.0
_WINDOWS, _LEAST_WINDOW_S = 60, 5.0


@dataclass(frozen=True, slots=True)
class Place:
    """Where an answer may come from: the name of its tier, whether it is paid per use, its price.

    `weight` is how many input tokens one of output counts.
    """

    tier: str
    paid: bool
    price: Price | None = None
    weight: float = _OUTPUT_WEIGHT

    def work(self, outcome: Outcome) -> float:
        """Input-equivalent tokens of an answer."""
        return outcome.arrival.prompt + self.weight * outcome.output

    def cost(self, outcome: Outcome) -> float:
        """US dollars of an answer: none where capacity is prepaid, nan if the price is unknown."""
        if not self.paid:
            return 0.0
        if self.price is None:
            return math.nan
        read, written = outcome.arrival.prompt, outcome.output
        return (read * self.price.input + written * self.price.output) / 1e6


def places_of(registry: Registry, home: str | None) -> dict[str, Place]:
    """Every deployment of the chat routes by id, in the order of their tiers."""
    routes = [route for route in registry.routes.values() if route.operation == "chat"]
    deployments = [d for route in routes for tier in route.tiers for d in tier]
    return {d.id: _place(d, home) for d in deployments}


def _place(deployment: Deployment, home: str | None) -> Place:
    capacity, price = deployment.capacity, deployment.card.price
    if deployment.local:
        return Place("local", False)
    if isinstance(capacity, Reserved):
        where = "" if home is None else " at home" if deployment.region == home else " elsewhere"
        return Place(f"reserved{where}", False, price, capacity.output_weight)
    return Place("paid per use" if capacity else deployment.vendor, True, price)


@dataclass(frozen=True, slots=True)
class Windows:
    """Stretches of `step_s` seconds that a run is cut into, from its start."""

    step_s: float
    count: int

    @classmethod
    def over(cls, seconds: float) -> Windows:
        """Some sixty over so many seconds, each of five seconds at least."""
        step_s = max(_LEAST_WINDOW_S, math.ceil(seconds / _WINDOWS))
        return cls(step_s, max(1, math.ceil(seconds / step_s)))

    @property
    def times(self) -> list[float]:
        """Where each begins."""
        return [i * self.step_s for i in range(self.count)]

    def at(self, seconds: float) -> int:
        """The one that a moment is in; what comes after the end is in the last."""
        return min(int(seconds / self.step_s), self.count - 1)


class Tally:
    """A report by tier and by window. Rates are per minute; what nobody answered is in no tier."""

    def __init__(self, report: Report, places: Mapping[str, Place], windows: Windows) -> None:
        self.report = report
        self.windows = windows
        self._places = places
        self.tiers = list(dict.fromkeys(place.tier for place in places.values()))
        self._answered = [(places[o.deployment], o) for o in report.outcomes if o.ok]

    def load(self) -> dict[str, list[float]]:
        """Input-equivalent tokens a minute, by tier."""
        return self._by_tier(Place.work)

    def cost(self) -> dict[str, list[float]]:
        """US dollars a minute of the tiers that are paid per use."""
        paid = {place.tier for place in self._places.values() if place.paid}
        return {t: row for t, row in self._by_tier(Place.cost).items() if t in paid}

    def paid_share(self) -> list[float]:
        """The part of each window's work that was paid per use; nan where there was none."""
        paid = self._sums((o, p.work(o)) for p, o in self._answered if p.paid)
        work = self._sums((o, p.work(o)) for p, o in self._answered)
        return [p / w if w else math.nan for p, w in zip(paid, work, strict=True)]

    def goodput(self) -> list[float]:
        """Output tokens a minute of the requests answered whole."""
        return self._rates((o, float(o.output)) for _, o in self._answered)

    def refused(self) -> list[float]:
        """Answers with status 429 that upstreams gave, a minute."""
        counts = [0.0] * self.windows.count
        for at_s in self.report.refused_at:
            counts[self.windows.at(at_s)] += 60 / self.windows.step_s
        return counts

    def ttft_s(self, quantile: float) -> list[float]:
        """A quantile of the time to first content by window, in seconds; nan where there was none.

        Each looks back over five windows, or a quantile of so few would be noise.
        """
        rows: list[list[float]] = [[] for _ in range(self.windows.count)]
        for o in self.report.outcomes:
            if o.ttft_s is not None:
                rows[self.windows.at(o.started_s)].append(o.ttft_s)
        recent = (sorted(chain(*rows[max(0, i - 4) : i + 1])) for i in range(len(rows)))
        return [r[min(len(r) - 1, int(quantile * len(r)))] if r else math.nan for r in recent]

    def paid(self) -> float:
        """The part of the work that was paid per use."""
        work = sum(p.work(o) for p, o in self._answered)
        return sum(p.work(o) for p, o in self._answered if p.paid) / work if work else 0.0

    def dollars(self) -> float:
        """What was paid per use; nan if a price is not known."""
        return sum((p.cost(o) for p, o in self._answered), 0.0)

    def shares(self) -> dict[str, float]:
        """The part of the work by tier."""
        work = {tier: sum(row) for tier, row in self.load().items()}
        whole = sum(work.values())
        return {tier: part / whole if whole else 0.0 for tier, part in work.items()}

    def _by_tier(self, value: Callable[[Place, Outcome], float]) -> dict[str, list[float]]:
        return {
            tier: self._rates((o, value(p, o)) for p, o in self._answered if p.tier == tier)
            for tier in self.tiers
        }

    def _rates(self, rows: Iterable[tuple[Outcome, float]]) -> list[float]:
        return [value * 60 / self.windows.step_s for value in self._sums(rows)]

    def _sums(self, rows: Iterable[tuple[Outcome, float]]) -> list[float]:
        sums = [0.0] * self.windows.count
        for outcome, value in rows:
            sums[self.windows.at(outcome.started_s)] += value
        return sums


def carrying(tallies: Sequence[Tally]) -> list[str]:
    """The tiers that carried anything in any of these runs."""
    loads = [tally.load() for tally in tallies]
    return [tier for tier in tallies[0].tiers if any(any(load[tier]) for load in loads)]
