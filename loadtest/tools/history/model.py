"""The generated data: the fleet, the traffic, an outage, and histograms."""

import math
import random
from collections.abc import Callable, Iterator

from hamlet.telemetry.catalogue import CATALOGUE, MetricSpec

STEP_S = 60
HOURS = 6
PODS = ("hamlet-0:9090", "hamlet-1:9090", "hamlet-2:9090")
REGIONS = ("koreacentral", "japaneast", "swedencentral")
RESERVED = tuple(f"azure-{r}/gpt-{n}" for r in REGIONS for n in range(1, 10))
PAY_AS_YOU_GO, OTHER_VENDOR = "azure-paid/gpt", "anthropic/claude"
ALL = (*RESERVED, PAY_AS_YOU_GO, OTHER_VENDOR)
ROUTES = {"chat": 0.7, "chips": 0.25, "embed": 0.05}
OUTAGE = (3.0, 3.5)
COMPARISON_VERDICT_RATES = (
    ("equal", 0.11),
    ("tolerated", 0.19),
    ("content_drift", 0.01),
    ("candidate_failed", 0.002),
)
ValueAt = Callable[[float], float]
SeriesSpec = tuple[str, dict[str, str], ValueAt, str]


def calls_per_s(hour: float) -> float:
    """Calls per second: a morning's rise with a ripple."""
    return 8 + 5 * math.sin(hour / 2.2) + 0.8 * math.sin(hour * 9)


def is_region_down(hour: float, deployment: str = "azure-koreacentral/gpt-1") -> bool:
    """Whether a region is down."""
    return OUTAGE[0] <= hour < OUTAGE[1] and "koreacentral" in deployment


def traffic_share(hour: float, deployment: str) -> float:
    """The share of the calls that goes to a deployment."""
    spilled = 0.12 if is_region_down(hour) else max(0.01, (calls_per_s(hour) - 11) * 0.03)
    if deployment in (PAY_AS_YOU_GO, OTHER_VENDOR):
        return spilled * (0.8 if deployment == PAY_AS_YOU_GO else 0.2)
    alive = [d for d in RESERVED if not is_region_down(hour, d)]
    weight = 1 + (int(deployment[-1]) % 3) * 0.4
    total = sum(1 + (int(d[-1]) % 3) * 0.4 for d in alive)
    return 0.0 if deployment not in alive else (1 - spilled) * weight / total


def failures_per_s(hour: float, deployment: str) -> float:
    """Failed attempts per second."""
    probes = 0.05 if is_region_down(hour, deployment) else 0.0
    if deployment in (PAY_AS_YOU_GO, OTHER_VENDOR):
        return 0.01 * calls_per_s(hour) * traffic_share(hour, deployment)
    return probes + (0.004 if deployment.endswith("7") else 0.0005) * calls_per_s(hour)


def histogram_series(
    name: str, labels: dict[str, str], typical: float, rate: ValueAt
) -> Iterator[SeriesSpec]:
    """A histogram whose values are log-normal around `typical`."""
    metric: MetricSpec = CATALOGUE[name]

    def share_below(bound: float, hour: float) -> float:
        slower = typical * (1.8 if is_region_down(hour) else 1.0)
        return 0.5 * (1 + math.erf(math.log(bound / slower) / 0.7 / math.sqrt(2)))

    for bound in metric.buckets:
        yield (
            f"{name}_bucket",
            labels | {"le": str(float(bound))},
            (lambda h, b=bound: rate(h) * share_below(b, h)),
            "counter",
        )
    yield f"{name}_bucket", labels | {"le": "+Inf"}, rate, "counter"
    yield f"{name}_count", labels, rate, "counter"
    yield f"{name}_sum", labels, lambda h: rate(h) * typical * 1.28, "counter"


def noise(hour: float, key: str) -> float:
    return random.Random(f"{key}{int(hour * 12)}").uniform(-1, 1)
