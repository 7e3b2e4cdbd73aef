"""The dialects hamlet speaks, and which of them a request is in where its path does not tell."""

from __future__ import annotations

from collections.abc import Mapping

from hamlet.api.anthropic import AnthropicDialect
from hamlet.api.chat import Dialect
from hamlet.api.openai import OpenAIDialect

OPENAI, ANTHROPIC = OpenAIDialect(), AnthropicDialect()


def dialect_of(headers: Mapping[str, str]) -> Dialect:
    """Anthropic's clients say the version of their API; all others are taken for OpenAI's."""
    return ANTHROPIC if "anthropic-version" in headers else OPENAI
