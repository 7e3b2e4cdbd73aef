"""The error family: HTTP status, retry rules and effect on the deployment, all as class data.

    HamletError
    +-- ProviderError               an attempt at an upstream failed
    |   +-- InvalidRequest          400  the request itself is wrong: every upstream will refuse it
    |   |   +-- ContextTooLong      400  fits only a larger window
    |   |   +-- Unsupported         400  this deployment lacks a feature or parameter
    |   |   +-- ContentBlocked      400  a content filter refused the prompt
    |   |   +-- RequestRefused      400  a firewall's 403, a 404 about a file: others may take it
    |   |   +-- Conflict            409
    |   +-- ModelMissing            503  the upstream does not know the configured model
    |   +-- UpstreamAuth            503  the upstream refused hamlet's key; never the caller's 401
    |   +-- RateLimited             429  cools the deployment down; not a failure
    |   +-- QuotaExhausted          503  spend or quota is used up: waiting is useless
    |   +-- Overloaded              503
    |   +-- UpstreamTimeout         504
    |   +-- UpstreamUnavailable     502  refused, reset, 5xx
    |   +-- UpstreamProtocol        502  not what the vendor's API promises
    |   |   +-- EmptyAnswer         502  the response has no content
    |   +-- Unfiltered              502  the vendor's content filter did not run
    |   +-- LocalLimit              503  hamlet is out of file descriptors or ports
    |   +-- StreamInterrupted       502  what a caller gets whose stream breaks off after content
    +-- RequestError                raised before any upstream is called
        +-- BadRequest 400  Unauthenticated 401  Forbidden 403  RouteNotFound 404
        +-- SlowRequest 408  TooLarge 413  LimitExceeded 429  Saturated 429
        +-- Busy 503  Draining 503  NoDeployment 503

docs/retries.md lists what each class does to a call and to its deployment. The code reads that from
the attributes of ProviderError, never from the class, so a plugin's own subclass counts too.
"""

from __future__ import annotations

from typing import ClassVar, Literal, NamedTuple

Phase = Literal["connect", "open", "stream"]
FailureCause = Literal[
    "dns", "refused", "reset", "timeout", "tls", "tls_name", "tls_trust", "unreachable"
]


class Cooldown(NamedTuple):
    """How long a deployment is left alone if the vendor names no time (Retry-After).

    `base_s` seconds, doubled with each refusal in a row, up to `max_s`. `jitter` adds up to that
    part at random, so that callers do not all return at once. Without `on_plain_503`, a 503 that
    has no Retry-After counts as a failure instead.
    """

    base_s: float
    max_s: float
    jitter: float = 0.0
    on_plain_503: bool = True


class Trip(NamedTuple):
    """The circuit breaker opens at the first error, for `open_s` seconds.

    `honors_retry_after`: for the vendor's Retry-After, if that is shorter.
    """

    reason: Literal["config", "quota"]
    open_s: float
    honors_retry_after: bool = False


class HamletError(Exception):
    """Root. `message` is fit for the caller: no secret, no vendor body."""

    status: ClassVar[int] = 500
    code: ClassVar[str] = "internal"

    def __init__(self, message: str, *, retry_after: float | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.retry_after = retry_after


class ProviderError(HamletError):
    """An upstream attempt failed.

    `upstream_status` is the vendor's HTTP status, `retry_after` the wait it asked for (seconds),
    `phase` how far the attempt got: "connect" means no byte was sent. `cause` tells failures to
    connect apart and is None for all others. `upstream_id` is the vendor's request id.
    `deployment` is filled in by the gateway.

    For the call: `retry_same` allows another attempt at this deployment, `try_other` at others.

    For the deployment: `cooldown` pauses it, `trip` opens its circuit breaker at once; otherwise an
    `unhealthy` error counts as a failure of `failure_weight` (`interrupted_weight` once the stream
    has begun, since a proxy in between may have cut it). `propagates_to` names the deployments
    that are affected as well. `is_capacity_refusal`: the deployment is full; `is_overload`: its
    vendor sheds load; `is_timeout`: the time it took is a lower bound of its latency.
    """

    status: ClassVar[int] = 502
    code: ClassVar[str] = "upstream_error"
    retry_same: ClassVar[bool] = False
    try_other: ClassVar[bool] = True
    unhealthy: ClassVar[bool] = False
    cooldown: ClassVar[Cooldown | None] = None
    trip: ClassVar[Trip | None] = None
    failure_weight: ClassVar[float] = 1.0
    interrupted_weight: ClassVar[float] = 0.5
    propagates_to: ClassVar[Literal["quota_peers", "region_peers"] | None] = None
    is_capacity_refusal: ClassVar[bool] = False
    is_overload: ClassVar[bool] = False
    is_timeout: ClassVar[bool] = False

    def __init__(
        self,
        message: str,
        *,
        upstream_status: int | None = None,
        retry_after: float | None = None,
        upstream_id: str | None = None,
        phase: Phase = "open",
        cause: FailureCause | None = None,
    ) -> None:
        super().__init__(message, retry_after=retry_after)
        self.cause = cause
        self.upstream_status = upstream_status
        self.upstream_id = upstream_id
        self.phase: Phase = phase
        self.deployment: str | None = None

    @property
    def repeatable(self) -> bool:
        """Whether the same deployment may be tried again: by class, or because no byte was sent."""
        return self.retry_same or self.phase == "connect"


class InvalidRequest(ProviderError):
    """The vendor refuses the request as wrong."""

    status = 400
    code = "invalid_request"
    try_other = False


class ContextTooLong(InvalidRequest):
    """More tokens than the model's window."""

    code = "context_length_exceeded"


class Unsupported(InvalidRequest):
    """The deployment does not support a feature or parameter of the request."""

    code = "unsupported"
    try_other = True


class ContentBlocked(InvalidRequest):
    """A content filter refused the prompt."""

    code = "content_filter"


class RequestRefused(InvalidRequest):
    """Refused for what this request says or names: by a firewall, or as a file that is not there.

    Another deployment may take it, and none is at fault.
    """

    code = "request_refused"
    try_other = True


class Conflict(InvalidRequest):
    """The vendor answered 409."""

    status = 409
    code = "conflict"
    retry_same = True
    try_other = True


class ModelMissing(ProviderError):
    """The upstream does not know the configured model or deployment: config drift."""

    status = 503
    code = "upstream_model_missing"
    unhealthy = True
    trip = Trip("config", open_s=300.0)


class UpstreamAuth(ProviderError):
    """The upstream refused hamlet's own key."""

    status = 503
    code = "upstream_auth"
    unhealthy = True
    trip = Trip("config", open_s=300.0)


class RateLimited(ProviderError):
    """The upstream wants hamlet to wait."""

    status = 429
    code = "rate_limited"
    retry_same = True
    cooldown = Cooldown(base_s=1.0, max_s=30.0, jitter=0.1)
    is_capacity_refusal = True


class QuotaExhausted(ProviderError):
    """Spend or quota is used up: backing off is useless.

    Without a Retry-After it is the account's, so that every deployment of its quota group is out.
    """

    status = 503
    code = "upstream_quota"
    unhealthy = True
    trip = Trip("quota", open_s=900.0, honors_retry_after=True)
    propagates_to = "quota_peers"


class Overloaded(ProviderError):
    """The upstream sheds load, whoever calls."""

    status = 503
    code = "overloaded"
    retry_same = True
    unhealthy = True
    cooldown = Cooldown(base_s=2.0, max_s=60.0, on_plain_503=False)
    propagates_to = "region_peers"
    is_overload = True


class UpstreamTimeout(ProviderError):
    """The upstream did not answer in time."""

    status = 504
    code = "upstream_timeout"
    unhealthy = True
    interrupted_weight = 1.0
    is_timeout = True


class UpstreamUnavailable(ProviderError):
    """Refused, reset, or a 5xx."""

    code = "upstream_unavailable"
    retry_same = True
    unhealthy = True


class UpstreamProtocol(ProviderError):
    """The response breaks the vendor's own protocol: bad JSON, no finish reason, wrong order."""

    code = "upstream_protocol"
    unhealthy = True


class EmptyAnswer(UpstreamProtocol):
    """The upstream ended its response without any content."""

    code = "empty_answer"
    failure_weight = 0.5


class Unfiltered(ProviderError):
    """The vendor's content filter did not run, and the route requires it."""

    code = "unfiltered"


class LocalLimit(ProviderError):
    """hamlet is out of file descriptors or ports: no deployment is at fault."""

    status = 503
    code = "busy"
    try_other = False


class StreamInterrupted(ProviderError):
    """What the caller gets when a response breaks off after its first content."""

    code = "stream_interrupted"


class RequestError(HamletError):
    """Raised by hamlet itself, before any upstream is called. `param` names what is wrong."""

    status: ClassVar[int] = 400
    code: ClassVar[str] = "invalid_request"

    def __init__(
        self, message: str, *, param: str | None = None, retry_after: float | None = None
    ) -> None:
        super().__init__(message, retry_after=retry_after)
        self.param = param


class BadRequest(RequestError):
    """The caller's request does not parse or validate."""


class Unauthenticated(RequestError):
    """No key, or an unknown one."""

    status = 401
    code = "invalid_api_key"


class Forbidden(RequestError):
    """The key has no permission for this."""

    status = 403
    code = "forbidden"


class RouteNotFound(RequestError):
    """No such route, for this caller."""

    status = 404
    code = "model_not_found"


class TooLarge(RequestError):
    """The request body is over the limit."""

    status = 413
    code = "request_too_large"


class SlowRequest(RequestError):
    """The request body did not arrive in time."""

    status = 408
    code = "request_timeout"


class LimitExceeded(RequestError):
    """The caller's own rate is used up."""

    status = 429
    code = "rate_limit_exceeded"


class Saturated(RequestError):
    """Every deployment of the route is full, for `retry_after` seconds."""

    status = 429
    code = "rate_limited"


class Busy(RequestError):
    """hamlet has its maximum of calls in flight."""

    status = 503
    code = "busy"


class Draining(RequestError):
    """This process is about to stop."""

    status = 503
    code = "draining"


class NoDeployment(RequestError):
    """No deployment of the route is available."""

    status = 503
    code = "no_deployment"
