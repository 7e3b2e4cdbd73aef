"""The dialects hamlet speaks, and which one a request uses where its path does not say."""

from __future__ import annotations

from collections.abc import Mapping

from hamlet.api.dialects.anthropic import AnthropicDialect
from hamlet.api.dialects.base import Dialect
from hamlet.api.dialects.openai import OpenAIDialect

OPENAI, ANTHROPIC = OpenAIDialect(), AnthropicDialect()


def dialect_of(headers: Mapping[str, str]) -> Dialect:
    """The dialect of a client: only Anthropic's send `anthropic-version`."""
    return ANTHROPIC if "anthropic-version" in headers else OPENAI
