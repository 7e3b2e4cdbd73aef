"""The tokens that a call used, and why it ended."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Any

from msgspec import Struct

_MAX_TOKEN_COUNT = 1_000_000_000


class Usage(Struct, frozen=True):
    """Token counts. Sub-counts lie inside the totals; unknown is None, never 0.

    `input_tokens` includes `cache_read_tokens` and `cache_write_tokens`; `output_tokens` includes
    `reasoning_tokens`. `estimated` marks counts made by hamlet; `raw` is the vendor's own object.
    """

    input_tokens: int | None = None
    output_tokens: int | None = None
    cache_read_tokens: int | None = None
    cache_write_tokens: int | None = None
    reasoning_tokens: int | None = None
    estimated: bool = False
    raw: Mapping[str, Any] | None = None


def token_count(value: Any) -> int | None:
    """A vendor's token count, or None if it is not plausible."""
    plausible = (
        isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= _MAX_TOKEN_COUNT
    )
    return value if plausible else None


class FinishReason(StrEnum):
    """Why the model stopped, the same for all vendors."""

    STOP = "stop"
    LENGTH = "length"
    TOOL_CALLS = "tool_calls"
    CONTENT_FILTER = "content_filter"
    OTHER = "other"
