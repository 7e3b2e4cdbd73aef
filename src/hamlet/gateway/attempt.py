"""One attempt on one deployment: reserved, observed, committed, settled."""

from __future__ import annotations

from types import TracebackType
from typing import Any

from msgspec import Struct

from hamlet.core import Headroom, Usage
from hamlet.core.errors import ProviderError, UpstreamProtocol, UpstreamTimeout
from hamlet.gateway.observers import Attempt, CallRecord, Observers
from hamlet.gateway.paced_stream import PacedStream
from hamlet.gateway.stream import StreamStats
from hamlet.routing import CostEstimate, LoadBalancer, Selection

_NO_USAGE = Usage(0, 0)


class AttemptScope:
    """Reserves capacity for one attempt and reports how the attempt ends.

    Use as `with AttemptScope(...) as attempt:` around the upstream call. When the block fails, the
    failure is recorded, the reservation is settled, and an exception that is no ProviderError is
    raised as UpstreamProtocol. When it succeeds, call `commit` or `record_success`, and `settle`
    once the response has ended. It is a class because every call passes through it: a generator
    based context manager costs three times as much.
    """

    __slots__ = (
        "_is_recorded",
        "_load_balancer",
        "_observers",
        "_output_tokens",
        "_record",
        "_reservation",
        "attempt",
    )  # fmt: skip

    def __init__(
        self,
        load_balancer: LoadBalancer,
        observers: Observers,
        record: CallRecord,
        selection: Selection,
        cost_estimate: CostEstimate,
        *,
        is_hedge: bool = False,
    ) -> None:
        self._load_balancer, self._observers, self._record = load_balancer, observers, record
        self._reservation = load_balancer.reserve(selection, cost_estimate)
        self._is_recorded = False
        self._output_tokens: float | None = None
        deployment = selection.candidate.deployment
        self.attempt = Attempt(deployment, load_balancer.clock(), tier=selection.tier)
        self.attempt.reason = record.next_attempt_reason(deployment, is_hedge)

    def __enter__(self) -> AttemptScope:
        record, attempt = self._record, self.attempt
        record.attempts += 1
        record.deployment, record.tier = attempt.deployment, attempt.tier
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        attempt = self.attempt
        attempt.duration_s = self._load_balancer.clock() - attempt.started_at
        if error is None:
            return
        if isinstance(error, ProviderError):
            attempt.error = error
        elif isinstance(error, Exception):
            attempt.error = UpstreamProtocol(f"the adapter failed: {type(error).__name__}")
            attempt.error.__cause__ = error
        else:
            attempt.cancelled = True
            self._load_balancer.cancel(self._reservation)
        if attempt.error is not None:
            self._record_failure(attempt, attempt.error)
        self._observers.on_attempt(self._record, attempt)
        if attempt.error is not None and attempt.error is not error:
            raise attempt.error

    def commit(self, head: list[Any], *, is_streamed: bool) -> None:
        """The response has reached its commit point with the items of `head`.

        A streamed response is recorded as a success now, because its reader may take minutes that
        are not the deployment's; any other one when it is settled, after the caller has got it.
        """
        self._reservation.headroom, output_tokens = _headroom_and_output_tokens(head)
        if not self._reservation.estimate.stream:
            # The latency of a response that is read to its end depends on its length.
            self._output_tokens = output_tokens
        if is_streamed:
            self.record_success()

    def record_success(self) -> None:
        """Report the success to the load balancer and to the observers."""
        self._is_recorded = True
        self._load_balancer.record_success(self._reservation, self._output_tokens)
        self._observers.on_attempt(self._record, self.attempt)

    def settle(
        self, usage: Usage | None, seen_tokens: int = 0, error: ProviderError | None = None
    ) -> None:
        """Correct the reservation to what the response cost; `error` ended it after its commit.

        Without `usage` the cost is the prompt and `seen_tokens`.
        """
        if not self._is_recorded:
            self.record_success()
        if error is not None:
            self._load_balancer.record_failure(self._reservation, error)
        self._load_balancer.settle(self._reservation, usage, seen_tokens)

    def _record_failure(self, attempt: Attempt, error: ProviderError) -> None:
        self._record.last_failure = attempt
        error.deployment = attempt.deployment.id
        self._load_balancer.record_failure(self._reservation, error)
        usage = None if _is_prompt_charged(error) else _NO_USAGE
        self._load_balancer.settle(self._reservation, usage)


class CommittedAttempt(Struct, eq=False):
    """An attempt that has reached its commit point.

    `head` has the items up to there; `paced_stream` gives the rest, None if there is no more.
    """

    scope: AttemptScope
    head: list[Any]
    paced_stream: PacedStream | None
    native: bool
    warnings: tuple[str, ...]

    async def discard(self) -> None:
        """Close a response that nobody reads, because the other one of a hedged call has won."""
        stats = StreamStats()
        for item in self.head:
            stats.record_item(item)
        try:
            if self.paced_stream is not None:
                await self.paced_stream.aclose()
        finally:
            self.scope.settle(stats.usage, stats.event_count)


def _is_prompt_charged(error: ProviderError) -> bool:
    """Whether the upstream had started to work on the prompt, for which it then charges."""
    return isinstance(error, UpstreamTimeout) and error.phase != "connect"


def _headroom_and_output_tokens(head: list[Any]) -> tuple[Headroom | None, float | None]:
    """The capacity that a head reports as left, and the output tokens if it has their number."""
    headroom = usage = None
    for item in head:
        headroom = headroom or getattr(item, "headroom", None)
        usage = usage or getattr(item, "usage", None)
    return headroom, float(usage.output_tokens) if usage and usage.output_tokens else None
