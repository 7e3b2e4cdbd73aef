"""The headers of error responses and warnings, the same in every dialect."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence

from hamlet.core.errors import HamletError, ProviderError, RequestError

_SAFE_NAME = re.compile(r"[^\w.-]")
_MAX_NAMES = 20


def error_headers(error: HamletError) -> dict[str, str]:
    """`retry-after`, `retry-after-ms` and `x-should-retry`, as the official SDKs read them.

    After hamlet has used up its own attempts the client must not multiply them; a request that was
    shed before any attempt may be retried.
    """
    headers = {}
    if error.retry_after is not None:
        headers["retry-after"] = str(math.ceil(error.retry_after))
        headers["retry-after-ms"] = str(math.ceil(error.retry_after * 1000))
    if isinstance(error, ProviderError):
        headers["x-should-retry"] = "false"
    elif isinstance(error, RequestError) and error.retry_after is not None:
        headers["x-should-retry"] = "true"
    return headers


def warning_headers(names: Sequence[str]) -> dict[str, str]:
    """The `x-hamlet-warnings` header: the dropped parameters. Names come from clients."""
    if not names:
        return {}
    safe_names = [_SAFE_NAME.sub("_", name)[:64] for name in names][:_MAX_NAMES]
    return {"x-hamlet-warnings": ", ".join(f"unsupported:{n}" for n in safe_names)}
