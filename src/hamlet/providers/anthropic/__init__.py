"""Anthropic's Messages API."""

from hamlet.providers.anthropic.provider import Anthropic, AnthropicSettings

__all__ = ["Anthropic", "AnthropicSettings"]
