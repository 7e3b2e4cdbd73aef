"""Headroom from the headers of OpenAI's and Azure's replies.

Azure reports the use of provisioned capacity as "NN.N%", at times empty or without the sign, and
names the full deployment if another one served the call ("spillover"):
https://learn.microsoft.com/azure/ai-foundry/openai/how-to/spillover-traffic-management
The remaining counts of quotas may be stale: -1 and 0 are ignored.
https://platform.openai.com/docs/guides/rate-limits#rate-limits-in-headers
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
    """The headroom; None if no header is present. Header names are lower case."""
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
