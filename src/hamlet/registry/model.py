"""The three nouns: provider, deployment, route."""

from __future__ import annotations

from dataclasses import dataclass
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
class Deployment:
    """One upstream model behind one provider. `defaults` already hold the route's own."""

    id: str
    provider: ProviderHandle
    model: str
    card: ModelCard
    defaults: ChatParams = ChatParams()
    caps: ChatParams = ChatParams()
    weight: float = 1.0
    region: str | None = None
    ptu: int | None = None
    max_in_flight: int | None = None


@dataclass(frozen=True, slots=True)
class Route:
    """A public model name: tiers of deployments, and how hard to try."""

    name: str
    operation: Literal["chat", "embeddings"]
    tiers: tuple[tuple[Deployment, ...], ...]
    policy: Policy
