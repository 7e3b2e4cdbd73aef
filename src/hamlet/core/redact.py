"""Removes secrets from text that may leave the process."""

from __future__ import annotations

import re

_SECRET = re.compile(
    r"(?i)\b(?:bearer|basic)\s+[\w.~+/=-]{6,}"
    r"|\b(?:sk|pk|rk|hk|key|token|xox[abp])[-_][\w-]{8,}"
    r"|\beyJ[\w-]{10,}\.[\w.-]+"
    r"|\b(?=[\w+/-]*\d)(?=[\w+/-]*[A-Za-z])[\w+/-]{32,}={0,2}"
)
_MASK = "[redacted]"


def redact(text: str, limit: int = 500) -> str:
    """`text` without anything that looks like a credential, cut at `limit` characters."""
    return _SECRET.sub(_MASK, text[:limit])
