"""The OpenAI dialect, as hamlet speaks it to callers."""

from hamlet.api.openai.dialect import OpenAIDialect

__all__ = ["OpenAIDialect"]
