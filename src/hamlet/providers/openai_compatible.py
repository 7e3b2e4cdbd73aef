"""Servers with OpenAI's API, such as vLLM, Ollama and OpenRouter, by configuration alone."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field

from hamlet.core import ALL_FEATURES, ChatParams, Feature, ModelCard
from hamlet.providers.openai import OpenAI
from hamlet.providers.openai import Settings as OpenAISettings
from hamlet.spi import ProviderSettings, Runtime

# The API has no parameter for a reasoning budget in tokens.
_PARAMS = frozenset(ChatParams.model_fields) - {"extra", "reasoning_tokens"}


class CompatibleSettings(OpenAISettings):
    """`features` and `params` are what the server's models support, unless a card says more."""

    base_url: str = Field(min_length=1)
    auth: Literal["auto", "bearer", "api-key", "entra"] = "bearer"
    features: frozenset[Feature] = ALL_FEATURES
    params: frozenset[str] = _PARAMS
    max_tokens_field: Literal["max_tokens", "max_completion_tokens"] = "max_tokens"


class OpenAICompatible(OpenAI):
    """A server with OpenAI's API."""

    Settings: ClassVar[type[ProviderSettings]] = CompatibleSettings
    kind: ClassVar[str] = "openai_compatible"

    def __init__(self, settings: CompatibleSettings, runtime: Runtime) -> None:
        super().__init__(settings, runtime)
        self.max_tokens_field = settings.max_tokens_field
        self.cards = {"": ModelCard(features=settings.features, params=settings.params)}
