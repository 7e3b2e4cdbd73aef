"""What Anthropic's headers say of the quota behind an answer.

https://docs.anthropic.com/en/api/rate-limits#response-headers
"""

from __future__ import annotations

from collections.abc import Mapping

from hamlet.core import Headroom
from hamlet.spi import counted

_TOKENS = "anthropic-ratelimit-tokens-remaining"
_REQUESTS = "anthropic-ratelimit-requests-remaining"


def headroom(headers: Mapping[str, str]) -> Headroom | None:
    """What is said, or None where nothing is. Header names are lower case."""
    tokens, requests = counted(headers.get(_TOKENS)), counted(headers.get(_REQUESTS))
    return None if tokens is None and requests is None else Headroom(None, tokens, requests)
