"""Headroom from the headers of Anthropic's replies.

https://docs.anthropic.com/en/api/rate-limits#response-headers
"""

from __future__ import annotations

from collections.abc import Mapping

from hamlet.core import Headroom
from hamlet.spi import parse_positive_int

_TOKENS_REMAINING = "anthropic-ratelimit-tokens-remaining"
_REQUESTS_REMAINING = "anthropic-ratelimit-requests-remaining"


def parse_headroom(headers: Mapping[str, str]) -> Headroom | None:
    """The headroom; None if no header is present. Header names are lower case."""
    tokens, requests = (
        parse_positive_int(headers.get(_TOKENS_REMAINING)),
        parse_positive_int(headers.get(_REQUESTS_REMAINING)),
    )
    return None if tokens is None and requests is None else Headroom(None, tokens, requests)
