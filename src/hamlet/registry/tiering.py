"""Tiers by capacity and distance: reserved before paid, near before far, local last."""

from __future__ import annotations

from collections.abc import Sequence

from hamlet.registry.model import Deployment, ReservedThroughput


def assign_tiers(
    deployments: Sequence[Deployment], home: str | None
) -> tuple[tuple[Deployment, ...], ...]:
    """Up to five tiers: reserved at home, reserved elsewhere, paid per use, other vendors, local.

    The own vendors are those of the reserved deployments, or else that of the first deployment.
    """
    own_vendors = {d.vendor for d in deployments if isinstance(d.capacity, ReservedThroughput)}
    own_vendors = own_vendors or {d.vendor for d in deployments[:1]}
    tiers: list[list[Deployment]] = [[], [], [], [], []]
    for deployment in deployments:
        tiers[_tier_index(deployment, home, own_vendors)].append(deployment)
    return tuple(tuple(tier) for tier in tiers if tier)


def _tier_index(deployment: Deployment, home: str | None, own_vendors: set[str]) -> int:
    if deployment.local:
        return 4
    if isinstance(deployment.capacity, ReservedThroughput):
        return 0 if home is not None and deployment.region == home else 1
    return 2 if deployment.vendor in own_vendors else 3
