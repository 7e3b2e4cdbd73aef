"""OpenAI and Azure OpenAI: the same API, with different URLs and authentication."""

from hamlet.providers.openai.provider import OpenAI
from hamlet.providers.openai.settings import Settings

__all__ = ["OpenAI", "Settings"]
