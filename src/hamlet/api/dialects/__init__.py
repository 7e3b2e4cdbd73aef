"""The dialects hamlet speaks, and which of them a request is in where its path does not tell."""

from __future__ import annotations

from collections.abc import Mapping

from hamlet.api.dialects.anthropic import AnthropicDialect
from hamlet.api.dialects.openai import OpenAIDialect
from hamlet.api.endpoints.chat import Dialect

OPENAI, ANTHROPIC = OpenAIDialect(), AnthropicDialect()


def dialect_of(headers: Mapping[str, str]) -> Dialect:
    """Anthropic's clients say the version of their API; all others are taken for OpenAI's."""
    return ANTHROPIC if "anthropic-version" in headers else OPENAI
