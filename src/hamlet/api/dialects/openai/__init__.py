"""The OpenAI dialect, as hamlet speaks it to callers."""

from hamlet.api.dialects.openai.dialect import OpenAIDialect

__all__ = ["OpenAIDialect"]
