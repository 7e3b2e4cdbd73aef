"""What OpenAI's and Azure's headers say of the capacity behind an answer.

Azure tells the use of reserved capacity as "NN.N%", perhaps empty or without the sign; where it
let another deployment answer, it names the one that was full. The counts of quotas come from
caches: -1 and 0 mean nothing. (Fleet design, sections 1.1 and 1.2.)
"""

from __future__ import annotations

import math
from collections.abc import Mapping

from hamlet.core import Headroom
from hamlet.spi import parse_positive_int

_UTILIZATION = "azure-openai-deployment-utilization"
_SPILLOVER_FROM = "x-ms-spillover-from-deployment"
_TOKENS_REMAINING, _REQUESTS_REMAINING = (
    "x-ratelimit-remaining-tokens",
    "x-ratelimit-remaining-requests",
)


def parse_headroom(headers: Mapping[str, str]) -> Headroom | None:
    """What is said, or None where nothing is. Header names are lower case."""
    if not (
        headers.keys() & {_UTILIZATION, _SPILLOVER_FROM, _TOKENS_REMAINING, _REQUESTS_REMAINING}
    ):
        return None
    return Headroom(
        _parse_percent(headers.get(_UTILIZATION, "")),
        parse_positive_int(headers.get(_TOKENS_REMAINING)),
        parse_positive_int(headers.get(_REQUESTS_REMAINING)),
        spilled=bool(headers.get(_SPILLOVER_FROM)),
    )


def _parse_percent(text: str) -> float | None:
    try:
        value = float(text.strip().removesuffix("%")) / 100
    except ValueError:
        return None
    return value if math.isfinite(value) and 0 <= value <= 10 else None
