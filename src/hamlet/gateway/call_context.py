"""What one call holds from its arrival to its end."""

from __future__ import annotations

from collections.abc import Callable

from hamlet.core.errors import RouteNotFound
from hamlet.gateway.admission import Admission, require_route_access
from hamlet.gateway.call import Caller
from hamlet.gateway.observers import CallRecord, Operation
from hamlet.registry.holder import RegistryLease
from hamlet.registry.model import Route
from hamlet.routing import CostEstimate, RouteState


class CallContext:
    """The resources and the state that all attempts of one call share.

    Holds a registry lease from the start, an admission slot once `has_slot` is set, and a share of
    the route's retry budget from `bind_route` on; `close` releases them. `route_state` and
    `cost_estimate` are set by the steps of the same name. A stream keeps its context until it is
    closed, so the context refers neither to the prompt nor to the retry state.
    """

    __slots__ = (
        "_admission",
        "_clock",
        "_is_bound",
        "_is_closed",
        "_registry_lease",
        "caller",
        "cost_estimate",
        "deadline",
        "has_slot",
        "prompt_bytes",
        "record",
        "route_state",
    )  # fmt: skip

    route_state: RouteState
    cost_estimate: CostEstimate

    def __init__(
        self,
        record: CallRecord,
        caller: Caller,
        registry_lease: RegistryLease,
        admission: Admission,
        clock: Callable[[], float],
    ) -> None:
        self.record, self.caller = record, caller
        self._registry_lease, self._admission, self._clock = registry_lease, admission, clock
        self.has_slot = self._is_bound = self._is_closed = False
        self.deadline = 0.0
        self.prompt_bytes = 0

    def resolve_route(self, operation: Operation) -> Route:
        """The route that the record names. Raises RouteNotFound.

        Until it is found the record's route is "unknown": a name that a caller made up is no label
        for metrics.
        """
        record = self.record
        name, record.route = record.route, "unknown"
        route = self._registry_lease.registry.route(name)
        if route.operation != operation:
            raise RouteNotFound(f"the model {name!r} does not do {operation}", param="model")
        require_route_access(self.caller, name)
        record.route = name
        return route

    def remaining_s(self) -> float:
        """Seconds until the deadline; 0 after it."""
        left = self.deadline - self._clock()
        return left if left > 0 else 0.0

    def bind_route(self, route_state: RouteState) -> None:
        """Count the call as one of the route's, which adds to the route's retry budget."""
        route_state.retry_budget.start_call()
        self.route_state, self._is_bound = route_state, True

    def close(self) -> None:
        """Release everything. May be called twice."""
        if self._is_closed:
            return
        self._is_closed = True
        if self._is_bound:
            self.route_state.retry_budget.end_call()
        if self.has_slot:
            self._admission.release_slot(self.caller)
        self._registry_lease.release()
