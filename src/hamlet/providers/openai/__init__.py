"""OpenAI and Azure OpenAI: the same wire, with other URLs and sign-ins."""

from hamlet.providers.openai.provider import OpenAI
from hamlet.providers.openai.settings import Settings

__all__ = ["OpenAI", "Settings"]
