"""The Anthropic dialect, as hamlet speaks it to callers."""

from hamlet.api.dialects.anthropic.dialect import AnthropicDialect

__all__ = ["AnthropicDialect"]
