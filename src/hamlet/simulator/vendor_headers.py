"""The response headers in which vendors report remaining quota and waits.

Azure: `azure-openai-deployment-utilization` on provisioned deployments, `x-ratelimit-*` and waits
as in https://learn.microsoft.com/azure/ai-foundry/openai/how-to/quota. Anthropic:
https://docs.anthropic.com/en/api/rate-limits
"""

from __future__ import annotations

import math

from hamlet.simulator.admission_buckets import Bucket, Refusal
from hamlet.simulator.spec import Ptu, SimulatedDeployment


def quota_headers(spec: SimulatedDeployment, bucket: Bucket, now: float) -> dict[str, str]:
    """The headers of an answer that report the deployment's state after admission."""
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
    """The headers of a refusal: whole milliseconds on Azure, whole seconds everywhere."""
    seconds = {"retry-after": str(math.ceil(refusal.wait_s))}
    if spec.wire != "azure":
        return seconds
    # Rounded up, so that a client that waits exactly this long is admitted.
    return {"retry-after-ms": str(int(refusal.wait_s * 1000) + 1), **seconds}
