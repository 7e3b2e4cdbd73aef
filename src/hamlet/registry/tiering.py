"""A fleet's deployments in tiers: prepaid before paid, near before far, the last resort last."""

from __future__ import annotations

from collections.abc import Sequence

from hamlet.registry.model import Deployment, Reserved


def arrange(
    deployments: Sequence[Deployment], home: str | None
) -> tuple[tuple[Deployment, ...], ...]:
    """Up to five tiers: reserved at home, reserved elsewhere, paid per use, other vendors, local.

    The vendor of the reserved ones is the own one; without any, that of the first.
    """
    own = {d.vendor for d in deployments if isinstance(d.capacity, Reserved)}
    own = own or {d.vendor for d in deployments[:1]}
    tiers: list[list[Deployment]] = [[], [], [], [], []]
    for deployment in deployments:
        tiers[_rank(deployment, home, own)].append(deployment)
    return tuple(tuple(tier) for tier in tiers if tier)


def _rank(deployment: Deployment, home: str | None, own: set[str]) -> int:
    if deployment.local:
        return 4
    if isinstance(deployment.capacity, Reserved):
        return 0 if home is not None and deployment.region == home else 1
    return 2 if deployment.vendor in own else 3
