"""Providers, deployments and routes, as built from the configuration."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from hamlet.config import Policy
from hamlet.core import ChatParams, ModelCard
from hamlet.core.params import NO_PARAMS


@dataclass(frozen=True, slots=True)
class ProviderHandle:
    """A configured provider: the plugin's instance and what it can do."""

    name: str
    kind: str
    instance: Any
    operations: tuple[str, ...]
    dialect: str | None = None


@dataclass(frozen=True, slots=True)
class ReservedThroughput:
    """Provisioned capacity (Azure's PTU): a token bucket; calls beyond it are refused."""

    ptu: int  # provisioned throughput units
    tpm_per_ptu: int
    output_weight: float

    @property
    def tokens_per_s(self) -> float:
        """Input-equivalent tokens a second."""
        return self.ptu * self.tpm_per_ptu / 60


@dataclass(frozen=True, slots=True)
class Quota:
    """Tokens and requests a minute on shared capacity: the vendor may refuse calls within it."""

    tpm: int | None
    rpm: int | None


Capacity = ReservedThroughput | Quota


@dataclass(frozen=True, slots=True)
class Deployment:
    """One upstream model behind one provider. `defaults` and `caps` include those of the route.

    They are NO_PARAMS, the object, if there are none. `capacity` is None if it is unknown.
    Deployments of one `quota_group` share a key's quota or credit, those of one `vendor` its
    outages. `local` is a last resort.
    """

    id: str
    provider: ProviderHandle
    model: str
    card: ModelCard
    defaults: ChatParams = NO_PARAMS
    caps: ChatParams = NO_PARAMS
    weight: float = 1.0
    region: str | None = None
    data_zone: str | None = None
    capacity: Capacity | None = None
    quota_group: str = ""
    vendor: str = ""
    local: bool = False
    max_in_flight: int | None = None


@dataclass(frozen=True, slots=True)
class Route:
    """A public model name: tiers of deployments, and the policy of its calls."""

    name: str
    operation: Literal["chat", "embeddings"]
    tiers: tuple[tuple[Deployment, ...], ...]
    policy: Policy
    sheddable: bool = False
    residency: frozenset[str] = frozenset()
