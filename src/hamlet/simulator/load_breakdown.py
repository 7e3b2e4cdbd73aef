"""A run by tier and over time: which deployments carried the load, and at what cost."""

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
    """A deployment's tier and price, and whether it is paid per use.

    An output token counts as `output_weight` input tokens.
    """

    tier: str
    is_pay_per_use: bool
    price: Price | None = None
    output_weight: float = _OUTPUT_WEIGHT

    def equivalent_tokens(self, outcome: RequestOutcome) -> float:
        """Input-equivalent tokens of an answer."""
        return outcome.arrival.prompt_tokens + self.output_weight * outcome.output_tokens

    def cost_usd(self, outcome: RequestOutcome) -> float:
        """US dollars of an answer: 0 with reserved capacity, nan if the price is unknown."""
        if not self.is_pay_per_use:
            return 0.0
        if self.price is None:
            return math.nan
        read, written = outcome.arrival.prompt_tokens, outcome.output_tokens
        return (read * self.price.input + written * self.price.output) / 1e6


def pricing_by_deployment(registry: Registry, home: str | None) -> dict[str, DeploymentPricing]:
    """Every deployment of the chat routes by id, in the order of tiers."""
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
    """Consecutive windows of `step_s` seconds, from the start of a run."""

    step_s: float
    count: int

    @classmethod
    def covering(cls, seconds: float) -> TimeWindows:
        """About sixty windows over so many seconds, each of five seconds or more."""
        step_s = max(_LEAST_WINDOW_S, math.ceil(seconds / _WINDOWS))
        return cls(step_s, max(1, math.ceil(seconds / step_s)))

    @property
    def times(self) -> list[float]:
        """The start of each window, in seconds."""
        return [i * self.step_s for i in range(self.count)]

    def index_at(self, seconds: float) -> int:
        """The window of a time; times after the end are in the last one."""
        return min(int(seconds / self.step_s), self.count - 1)


class LoadBreakdown:
    """A report by tier and by window. Rates are per minute; failed requests are in no tier."""

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
        """Input-equivalent tokens per minute, by tier."""
        return self._by_tier(DeploymentPricing.equivalent_tokens)

    def cost_per_minute(self) -> dict[str, list[float]]:
        """US dollars per minute of the tiers that are paid per use."""
        paid = {place.tier for place in self._pricing.values() if place.is_pay_per_use}
        return {t: row for t, row in self._by_tier(DeploymentPricing.cost_usd).items() if t in paid}

    def pay_per_use_share_by_window(self) -> list[float]:
        """The share of each window's load that was paid per use; nan for a window without load."""
        paid = self._window_sums(
            (o, p.equivalent_tokens(o)) for p, o in self._answered if p.is_pay_per_use
        )
        work = self._window_sums((o, p.equivalent_tokens(o)) for p, o in self._answered)
        return [p / w if w else math.nan for p, w in zip(paid, work, strict=True)]

    def goodput_per_minute(self) -> list[float]:
        """Output tokens per minute of complete answers."""
        return self._per_minute((o, float(o.output_tokens)) for _, o in self._answered)

    def rate_limited_per_minute(self) -> list[float]:
        """Upstream responses with status 429, per minute."""
        counts = [0.0] * self.windows.count
        for at_s in self.report.rate_limited_at_s:
            counts[self.windows.index_at(at_s)] += 60 / self.windows.step_s
        return counts

    def ttft_s_by_window(self, quantile: float) -> list[float]:
        """A quantile of the time to first content by window, in seconds; nan where there was none.

        Each value covers five windows, since a quantile of one would be noise.
        """
        rows: list[list[float]] = [[] for _ in range(self.windows.count)]
        for o in self.report.outcomes:
            if o.ttft_s is not None:
                rows[self.windows.index_at(o.started_s)].append(o.ttft_s)
        recent = (sorted(chain(*rows[max(0, i - 4) : i + 1])) for i in range(len(rows)))
        return [r[min(len(r) - 1, int(quantile * len(r)))] if r else math.nan for r in recent]

    def pay_per_use_share(self) -> float:
        """The share of the load that was paid per use; 0 without load."""
        work = sum(p.equivalent_tokens(o) for p, o in self._answered)
        return (
            sum(p.equivalent_tokens(o) for p, o in self._answered if p.is_pay_per_use) / work
            if work
            else 0.0
        )

    def total_cost_usd(self) -> float:
        """US dollars paid per use; nan if a price is unknown."""
        return sum((p.cost_usd(o) for p, o in self._answered), 0.0)

    def load_share_by_tier(self) -> dict[str, float]:
        """The share of the load by tier."""
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
    """The tiers with load in any of these runs."""
    loads = [breakdown.load_per_minute() for breakdown in breakdowns]
    return [tier for tier in breakdowns[0].tiers if any(any(load[tier]) for load in loads)]
