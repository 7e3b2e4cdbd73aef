"""The order in which to try deployments: strict tiers, weighted draw within a tier."""

from __future__ import annotations

import random
from collections.abc import Sequence

from hamlet.registry.model import Deployment


def order(
    tiers: Sequence[Sequence[Deployment]], rng: random.Random | None = None
) -> list[Deployment]:
    """All deployments, tier by tier; within one, heavier ones tend to come first.

    Efraimidis and Spirakis (2006): sorting by U^(1/w) draws without replacement by weight.
    """
    draw = (rng or random).random
    return [
        deployment
        for tier in tiers
        for deployment in (
            tier
            if len(tier) == 1
            else sorted(tier, key=lambda d: draw() ** (1 / d.weight), reverse=True)
        )
    ]
