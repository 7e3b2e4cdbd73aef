"""The headers in which vendors tell how much is left, and how long to wait.

Azure: `azure-openai-deployment-utilization` on provisioned deployments, `x-ratelimit-*` and waits
as https://learn.microsoft.com/azure/ai-foundry/openai/how-to/quota has them. Anthropic:
https://docs.anthropic.com/en/api/rate-limits
"""

from __future__ import annotations

import math

from hamlet.simulator.admission_buckets import Bucket, Refusal
from hamlet.simulator.spec import Ptu, SimulatedDeployment


def quota_headers(spec: SimulatedDeployment, bucket: Bucket, now: float) -> dict[str, str]:
    """What an answer tells of its deployment's state, once the request is let in."""
    headers = {"x-ms-region": spec.region} if spec.wire == "azure" else {}
    if isinstance(spec.capacity, Ptu):
        if spec.capacity.reports_utilisation:
            used = min(bucket.utilisation(now) * 100, 999.9)
            headers["azure-openai-deployment-utilization"] = f"{used:.1f}%"
        return headers
    prefix = "anthropic-ratelimit-" if spec.wire == "anthropic" else "x-ratelimit-"
    for name, value in bucket.rate_limits(now).items():
        amount, limit = name.split("-")
        named = f"{limit}-{amount}" if spec.wire == "anthropic" else name
        headers[prefix + named] = str(int(value))
    return headers


def refusal_headers(spec: SimulatedDeployment, refusal: Refusal) -> dict[str, str]:
    """The wait: in whole milliseconds on Azure, in whole seconds everywhere."""
    seconds = {"retry-after": str(math.ceil(refusal.wait_s))}
    if spec.wire != "azure":
        return seconds
    # One more than the whole milliseconds, so that who waits exactly as told is let in.
    return {"retry-after-ms": str(int(refusal.wait_s * 1000) + 1), **seconds}
