"""What a run adds up to by tier and over time: who carried the load, and what it cost."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain

from hamlet.core import Price
from hamlet.registry import Deployment, Registry, ReservedThroughput
from hamlet.simulator.report import RequestOutcome, SimulationReport

_OUTPUT_WEIGHT = 3.0
_WINDOWS, _LEAST_WINDOW_S = 60, 5.0


@dataclass(frozen=True, slots=True)
class DeploymentPricing:
    """Where an answer may come from: the name of its tier, whether it is paid per use, its price.

    `weight` is how many input tokens one of output counts.
    """

    tier: str
    is_pay_per_use: bool
    price: Price | None = None
    output_weight: float = _OUTPUT_WEIGHT

    def equivalent_tokens(self, outcome: RequestOutcome) -> float:
        """Input-equivalent tokens of an answer."""
        return outcome.arrival.prompt_tokens + self.output_weight * outcome.output_tokens

    def cost_usd(self, outcome: RequestOutcome) -> float:
        """US dollars of an answer: none where capacity is prepaid, nan if the price is unknown."""
        if not self.is_pay_per_use:
            return 0.0
        if self.price is None:
            return math.nan
        read, written = outcome.arrival.prompt_tokens, outcome.output_tokens
        return (read * self.price.input + written * self.price.output) / 1e6


def pricing_by_deployment(registry: Registry, home: str | None) -> dict[str, DeploymentPricing]:
    """Every deployment of the chat routes by id, in the order of their tiers."""
    routes = [route for route in registry.routes.values() if route.operation == "chat"]
    deployments = [d for route in routes for tier in route.tiers for d in tier]
    return {d.id: _pricing(d, home) for d in deployments}


def _pricing(deployment: Deployment, home: str | None) -> DeploymentPricing:
    capacity, price = deployment.capacity, deployment.card.price
    if deployment.local:
        return DeploymentPricing("local", False)
    if isinstance(capacity, ReservedThroughput):
        locality = "" if home is None else " at home" if deployment.region == home else " elsewhere"
        return DeploymentPricing(f"reserved{locality}", False, price, capacity.output_weight)
    return DeploymentPricing("paid per use" if capacity else deployment.vendor, True, price)


@dataclass(frozen=True, slots=True)
class TimeWindows:
    """Stretches of `step_s` seconds that a run is cut into, from its start."""

    step_s: float
    count: int

    @classmethod
    def covering(cls, seconds: float) -> TimeWindows:
        """Some sixty over so many seconds, each of five seconds at least."""
        step_s = max(_LEAST_WINDOW_S, math.ceil(seconds / _WINDOWS))
        return cls(step_s, max(1, math.ceil(seconds / step_s)))

    @property
    def times(self) -> list[float]:
        """Where each begins."""
        return [i * self.step_s for i in range(self.count)]

    def index_at(self, seconds: float) -> int:
        """The one that a moment is in; what comes after the end is in the last."""
        return min(int(seconds / self.step_s), self.count - 1)


class LoadBreakdown:
    """A report by tier and by window. Rates are per minute; what nobody answered is in no tier."""

    def __init__(
        self,
        report: SimulationReport,
        pricing: Mapping[str, DeploymentPricing],
        windows: TimeWindows,
    ) -> None:
        self.report = report
        self.windows = windows
        self._pricing = pricing
        self.tiers = list(dict.fromkeys(place.tier for place in pricing.values()))
        self._answered = [(pricing[o.deployment], o) for o in report.outcomes if o.ok]

    def load_per_minute(self) -> dict[str, list[float]]:
        """Input-equivalent tokens a minute, by tier."""
        return self._by_tier(DeploymentPricing.equivalent_tokens)

    def cost_per_minute(self) -> dict[str, list[float]]:
        """US dollars a minute of the tiers that are paid per use."""
        paid = {place.tier for place in self._pricing.values() if place.is_pay_per_use}
        return {t: row for t, row in self._by_tier(DeploymentPricing.cost_usd).items() if t in paid}

    def pay_per_use_share_by_window(self) -> list[float]:
        """The part of each window's work that was paid per use; nan where there was none."""
        paid = self._window_sums(
            (o, p.equivalent_tokens(o)) for p, o in self._answered if p.is_pay_per_use
        )
        work = self._window_sums((o, p.equivalent_tokens(o)) for p, o in self._answered)
        return [p / w if w else math.nan for p, w in zip(paid, work, strict=True)]

    def goodput_per_minute(self) -> list[float]:
        """Output tokens a minute of the requests answered whole."""
        return self._per_minute((o, float(o.output_tokens)) for _, o in self._answered)

    def rate_limited_per_minute(self) -> list[float]:
        """Answers with status 429 that upstreams gave, a minute."""
        counts = [0.0] * self.windows.count
        for at_s in self.report.rate_limited_at_s:
            counts[self.windows.index_at(at_s)] += 60 / self.windows.step_s
        return counts

    def ttft_s_by_window(self, quantile: float) -> list[float]:
        """A quantile of the time to first content by window, in seconds; nan where there was none.

        Each looks back over five windows, or a quantile of so few would be noise.
        """
        rows: list[list[float]] = [[] for _ in range(self.windows.count)]
        for o in self.report.outcomes:
            if o.ttft_s is not None:
                rows[self.windows.index_at(o.started_s)].append(o.ttft_s)
        recent = (sorted(chain(*rows[max(0, i - 4) : i + 1])) for i in range(len(rows)))
        return [r[min(len(r) - 1, int(quantile * len(r)))] if r else math.nan for r in recent]

    def pay_per_use_share(self) -> float:
        """The part of the work that was paid per use."""
        work = sum(p.equivalent_tokens(o) for p, o in self._answered)
        return (
            sum(p.equivalent_tokens(o) for p, o in self._answered if p.is_pay_per_use) / work
            if work
            else 0.0
        )

    def total_cost_usd(self) -> float:
        """What was paid per use; nan if a price is not known."""
        return sum((p.cost_usd(o) for p, o in self._answered), 0.0)

    def load_share_by_tier(self) -> dict[str, float]:
        """The part of the work by tier."""
        work = {tier: sum(row) for tier, row in self.load_per_minute().items()}
        whole = sum(work.values())
        return {tier: part / whole if whole else 0.0 for tier, part in work.items()}

    def _by_tier(
        self, value: Callable[[DeploymentPricing, RequestOutcome], float]
    ) -> dict[str, list[float]]:
        return {
            tier: self._per_minute((o, value(p, o)) for p, o in self._answered if p.tier == tier)
            for tier in self.tiers
        }

    def _per_minute(self, rows: Iterable[tuple[RequestOutcome, float]]) -> list[float]:
        return [value * 60 / self.windows.step_s for value in self._window_sums(rows)]

    def _window_sums(self, rows: Iterable[tuple[RequestOutcome, float]]) -> list[float]:
        sums = [0.0] * self.windows.count
        for outcome, value in rows:
            sums[self.windows.index_at(outcome.started_s)] += value
        return sums


def tiers_with_load(breakdowns: Sequence[LoadBreakdown]) -> list[str]:
    """The tiers that carried anything in any of these runs."""
    loads = [breakdown.load_per_minute() for breakdown in breakdowns]
    return [tier for tier in breakdowns[0].tiers if any(any(load[tier]) for load in loads)]
