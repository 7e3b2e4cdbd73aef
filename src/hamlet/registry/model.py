"""The three nouns: provider, deployment, route."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

from hamlet.config import Policy
from hamlet.core import ChatParams, ModelCard


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
    """Provisioned capacity (Azure's PTU): a leaky bucket without a queue."""

    ptu: int  # provisioned throughput units
    tpm_per_ptu: int
    output_weight: float

    @property
    def tokens_per_s(self) -> float:
        """Input-equivalent tokens that drain a second."""
        return self.ptu * self.tpm_per_ptu / 60


@dataclass(frozen=True, slots=True)
class Quota:
    """A right to tokens and requests a minute, shared with others: it may fail all the same."""

    tpm: int | None
    rpm: int | None


Capacity = ReservedThroughput | Quota


@dataclass(frozen=True, slots=True)
class Deployment:
    """One upstream model behind one provider. `defaults` and `caps` already hold the route's own.

    `capacity` is None where nothing is known of it. Deployments of one `quota_group` share a key
    or a purse, those of one `vendor` its outages. `local` is a last resort.
    """

    id: str
    provider: ProviderHandle
    model: str
    card: ModelCard
    defaults: ChatParams = ChatParams()
    caps: ChatParams = ChatParams()
    weight: float = 1.0
    region: str | None = None
    data_zone: str | None = None
    capacity: Capacity | None = None
    quota_group: str = ""
    vendor: str = ""
    local: bool = False
    max_in_flight: int | None = None
    # Whether it has defaults or caps: most have none, and every call asks.
    has_param_overrides: bool = field(init=False)

    def __post_init__(self) -> None:
        has_overrides = bool(self.defaults.model_fields_set or self.caps.model_fields_set)
        object.__setattr__(self, "has_param_overrides", has_overrides)


@dataclass(frozen=True, slots=True)
class Route:
    """A public model name: tiers of deployments, and how hard to try."""

    name: str
    operation: Literal["chat", "embeddings"]
    tiers: tuple[tuple[Deployment, ...], ...]
    policy: Policy
    sheddable: bool = False
    residency: frozenset[str] = frozenset()
