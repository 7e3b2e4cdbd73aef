"""The error family. Each class carries its verdict as data; the router has no isinstance ladder.

    HamletError
    +-- ProviderError               an upstream attempt failed
    |   +-- InvalidRequest          400  the request itself is wrong: nobody will take it
    |   |   +-- ContextTooLong      400  fits only a larger window
    |   |   +-- Unsupported         400  this deployment lacks a feature or parameter
    |   |   +-- ContentBlocked      400  a content filter refused the prompt
    |   |   +-- Conflict            409
    |   +-- ModelMissing            503  the upstream does not know the model we configured
    |   +-- UpstreamAuth            503  our key was refused; never the caller's 401
    |   +-- RateLimited             429  a cooldown, not a failure
    |   +-- QuotaExhausted          503  spend or quota gone: waiting is useless
    |   +-- Overloaded              503
    |   +-- UpstreamTimeout         504
    |   +-- UpstreamUnavailable     502  refused, reset, 5xx
    |   +-- UpstreamProtocol        502  not what the vendor's API promises
    |   |   +-- EmptyAnswer         502  nothing in it
    |   +-- Unfiltered              502  the vendor's content filter did not run
    |   +-- LocalLimit              503  hamlet is out of files or ports
    |   +-- StreamInterrupted       502  as a caller is told who has read the beginning
    +-- RequestError                raised before any upstream is asked
        +-- BadRequest 400  Unauthenticated 401  Forbidden 403  RouteNotFound 404
        +-- SlowRequest 408  TooLarge 413  LimitExceeded 429  Saturated 429
        +-- Busy 503  Draining 503  NoDeployment 503

Verdicts per upstream answer follow the classification table of the fleet design (section 1.5).
"""

from __future__ import annotations

from typing import ClassVar, Literal

Phase = Literal["connect", "open", "stream"]
FailureCause = Literal[
    "dns", "refused", "reset", "timeout", "tls", "tls_name", "tls_trust", "unreachable"
]


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
    """

    status: ClassVar[int] = 502
    code: ClassVar[str] = "upstream_error"
    retry_same: ClassVar[bool] = False
    try_other: ClassVar[bool] = True
    unhealthy: ClassVar[bool] = False

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
        """Whether the same deployment may be asked again: by class, or as no byte was sent."""
        return self.retry_same or self.phase == "connect"


class InvalidRequest(ProviderError):
    """The vendor says the request is wrong."""

    status = 400
    code = "invalid_request"
    try_other = False


class ContextTooLong(InvalidRequest):
    """More tokens than the model's window."""

    code = "context_length_exceeded"


class Unsupported(InvalidRequest):
    """A feature or parameter this deployment cannot take."""

    code = "unsupported"
    try_other = True


class ContentBlocked(InvalidRequest):
    """A content filter refused the prompt."""

    code = "content_filter"


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


class UpstreamAuth(ProviderError):
    """The upstream refused hamlet's own key."""

    status = 503
    code = "upstream_auth"
    unhealthy = True


class RateLimited(ProviderError):
    """The upstream asks us to wait."""

    status = 429
    code = "rate_limited"
    retry_same = True


class QuotaExhausted(ProviderError):
    """Spend or quota is used up: backing off is useless."""

    status = 503
    code = "upstream_quota"
    unhealthy = True


class Overloaded(ProviderError):
    """The upstream is overloaded for everybody."""

    status = 503
    code = "overloaded"
    retry_same = True
    unhealthy = True


class UpstreamTimeout(ProviderError):
    """The upstream did not answer in time."""

    status = 504
    code = "upstream_timeout"
    unhealthy = True


class UpstreamUnavailable(ProviderError):
    """Refused, reset, or a 5xx."""

    code = "upstream_unavailable"
    retry_same = True
    unhealthy = True


class UpstreamProtocol(ProviderError):
    """The answer breaks the vendor's own protocol: bad JSON, no finish reason, wrong grammar."""

    code = "upstream_protocol"
    unhealthy = True


class EmptyAnswer(UpstreamProtocol):
    """The upstream ended its answer without having said anything."""

    code = "empty_answer"


class Unfiltered(ProviderError):
    """The vendor's content filter did not run, and the route demands that it does."""

    code = "unfiltered"


class LocalLimit(ProviderError):
    """hamlet itself is out of files or ports: no fault of the deployment, nor of any other."""

    status = 503
    code = "busy"
    try_other = False


class StreamInterrupted(ProviderError):
    """What a caller is told when an answer breaks off that it has begun to read."""

    code = "stream_interrupted"


class RequestError(HamletError):
    """Raised by hamlet itself, before any upstream is asked. `param` names what is wrong."""

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
    """The key may not do this."""

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
    """Every deployment of the route is full; `retry_after` says until when."""

    status = 429
    code = "rate_limited"


class Busy(RequestError):
    """hamlet has as many calls in flight as it may."""

    status = 503
    code = "busy"


class Draining(RequestError):
    """This process is about to stop."""

    status = 503
    code = "draining"


class NoDeployment(RequestError):
    """No deployment of the route is well enough to be asked."""

    status = 503
    code = "no_deployment"
