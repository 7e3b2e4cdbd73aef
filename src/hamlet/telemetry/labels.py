"""Every label name a metric may carry.

Values come from the config or from closed sets, never from a client, which bounds the series.
"""

OPERATION = "operation"
ROUTE = "route"
PROVIDER = "provider"
DEPLOYMENT = "deployment"
OUTCOME = "outcome"
TOKEN_TYPE = "token_type"  # noqa: S105
STREAM = "stream"
FEATURE = "feature"
ARM = "arm"
REASON = "reason"
KIND = "kind"
VERDICT = "verdict"
STATE = "state"
TO = "to"
CAUSE = "cause"
