"""Model cards: what a model supports, as data."""

from __future__ import annotations

from enum import StrEnum
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field
from pydantic.dataclasses import dataclass


class Feature(StrEnum):
    """A capability that a request may need and a deployment may lack."""

    TOOLS = "tools"
    JSON = "json"
    JSON_SCHEMA = "json_schema"
    IMAGES = "images"
    AUDIO = "audio"
    DOCUMENTS = "documents"
    REASONING = "reasoning"
    CHOICES = "choices"


ALL_FEATURES = frozenset(Feature)


@dataclass(frozen=True, slots=True, config=ConfigDict(extra="forbid"))
class Price:
    """US dollars per million tokens."""

    input: float = Field(ge=0)
    output: float = Field(ge=0)
    cached_input: float | None = Field(default=None, ge=0)


class ModelCard(BaseModel):
    """Facts about one upstream model. Null means unknown; null `params` accepts any."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Literal["chat", "embeddings"] | None = None
    context_window: int | None = Field(default=None, ge=1)  # tokens
    max_output: int | None = Field(default=None, ge=1)
    dimensions: int | None = Field(default=None, ge=1)
    features: frozenset[Feature] = ALL_FEATURES
    params: frozenset[str] | None = None
    price: Price | None = None
