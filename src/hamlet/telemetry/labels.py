"""The labels of metrics, and their values where these are a closed set.

All other values come from the configuration, never from a client, so the number of series has a
bound.
"""

from __future__ import annotations

from typing import Final, get_args

from hamlet.core.errors import FailureCause

OPERATION = "operation"
ROUTE = "route"
PROVIDER = "provider"
MODEL = "model"
REGION = "region"
DEPLOYMENT = "deployment"
CAPACITY = "capacity"
TIER = "tier"
OUTCOME = "outcome"
RESULT = "result"
ERROR_TYPE = "error_type"
PHASE = "phase"
TOKEN_TYPE = "token_type"  # noqa: S105
STREAM = "stream"
PATH = "path"
CODE = "code"
BY = "by"
SURFACE = "surface"
PART = "part"
ORIGIN = "origin"
TYPE = "type"
SOURCE = "source"
VERSION = "version"
FEATURE = "feature"
ARM = "arm"
REASON = "reason"
KIND = "kind"
VERDICT = "verdict"
STATE = "state"
TO = "to"
CAUSE = "cause"

OUTCOMES = ("ok", "degraded", "failed", "overload", "rejected", "client_error", "cancelled")
# Codes of ProviderError and its subclasses. A code that a plugin adds is counted as the first.
FAILURE_CODES = (
    "upstream_error",
    "busy",
    "conflict",
    "content_filter",
    "context_length_exceeded",
    "empty_answer",
    "invalid_request",
    "overloaded",
    "rate_limited",
    "request_refused",
    "stream_interrupted",
    "unfiltered",
    "unsupported",
    "upstream_auth",
    "upstream_model_missing",
    "upstream_protocol",
    "upstream_quota",
    "upstream_timeout",
    "upstream_unavailable",
)
RESULTS = ("ok", "cancelled", *FAILURE_CODES)
# Why a connection could not be opened. A cause that a plugin adds is counted as the general one.
CONNECT_CAUSES: Final[tuple[FailureCause, ...]] = get_args(FailureCause)
OTHER_CONNECT_CAUSE: Final[FailureCause] = "unreachable"
# Codes of RequestError and its subclasses.
REJECTION_CODES = (
    "invalid_request",
    "invalid_api_key",
    "forbidden",
    "model_not_found",
    "request_too_large",
    "request_timeout",
    "rate_limit_exceeded",
    "rate_limited",
    "busy",
    "draining",
    "no_deployment",
)
REATTEMPT_REASONS = ("retry", "failover", "spill", "hedge")
TOKEN_TYPES = ("input", "output", "cached_input", "cache_write", "reasoning")
TIERS = ("pinned", "web", "llm", "cache", "stale", "embedded", "starter")
CIRCUIT_STATES = ("closed", "open", "half_open")

# The values of labels that do not depend on the configuration.
CLOSED_VALUES: Final = {
    OPERATION: ("chat", "embeddings", "probe"),
    OUTCOME: OUTCOMES,
    RESULT: RESULTS,
    ERROR_TYPE: ("", "timeout", "error"),
    PHASE: ("connect", "open", "stream"),
    TOKEN_TYPE: TOKEN_TYPES,
    STREAM: ("true", "false"),
    BY: ("client", "upstream", "server"),
    SURFACE: ("home", "search", "chat", "page"),
    PART: ("links", "chips"),
    CAPACITY: ("reserved", "quota", "unknown"),
}
