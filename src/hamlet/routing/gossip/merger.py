"""Merges the state of several processes. Knows nothing of the transport."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

import msgspec

from hamlet.registry import Deployment
from hamlet.routing.deployment_state import DeploymentState
from hamlet.routing.gossip.message import DeploymentSnapshot, GossipMessage
from hamlet.routing.load_balancer import LoadBalancer

_PEER_TTL_S = 3.0
_SHARE_OVERSUBSCRIPTION = 1.1


class Merger:
    """Builds messages from the load balancer's pending updates, and merges those of others.

    Cooldowns merge to the longer one, circuit breakers to the newer one, capacity to the sum of all
    processes' charges. Received state is not passed on: a remaining wait would grow by its time in
    transit with each hop, for ever.
    """

    def __init__(
        self,
        load_balancer: LoadBalancer,
        name: str,
        deployments: Callable[[], Iterable[Deployment]],
    ) -> None:
        """`name` identifies this process. The load balancer must have `pending_updates`."""
        self.name = name
        self.process_count = 1
        self._load_balancer = load_balancer
        self._deployments = deployments
        self._peer_seen_at: dict[str, float] = {}
        self._last_numbers: dict[str, int] = {}
        self._number = 0
        self._unsent_message: GossipMessage | None = None
        self._remote_waits: dict[str, tuple[float, float]] = {}
        assert load_balancer.pending_updates is not None, "a load balancer without updates"
        self._pending_updates = load_balancer.pending_updates

    # -- outgoing

    def next_message(self, *, full: bool = False) -> GossipMessage | None:
        """What has not been sent yet or, if `full`, all state that differs from the initial one.

        Until `mark_sent` the next message repeats it. None if there is nothing to send.
        """
        updates = self._pending_updates.drain()
        unsent = self._unsent_message or GossipMessage(self.name, 0)
        for id_, (cost, calls) in unsent.charges.items():
            updates.costs[id_] += cost
            updates.calls[id_] += calls
        charges = {id_: (cost, updates.calls[id_]) for id_, cost in updates.costs.items()}
        changed_ids = (
            self._all_deployment_ids() if full else updates.changed_ids | unsent.snapshots.keys()
        )
        snapshots = {id_: self._local_snapshot(id_) for id_ in changed_ids}
        if full:
            snapshots = {
                id_: snapshot
                for id_, snapshot in snapshots.items()
                if snapshot != DeploymentSnapshot()
            }
        self._number += 1
        self._unsent_message = GossipMessage(self.name, self._number, charges, snapshots)
        return self._unsent_message if full or charges or snapshots else None

    def mark_sent(self) -> None:
        """The last message has been published."""
        self._unsent_message = None
        now = self._load_balancer.clock()
        self._peer_seen_at = {
            name: at for name, at in self._peer_seen_at.items() if now - at <= _PEER_TTL_S
        }
        self.process_count = 1 + len(self._peer_seen_at)

    def snapshot_message(self) -> GossipMessage:
        """All state, for a process that starts or comes back."""
        now = self._load_balancer.clock()
        states = self._load_balancer.deployment_states.items()
        snapshots = {id_: state.snapshot(now) for id_, state in states}
        levels = {id_: state.capacity_model.undrained_levels(now) for id_, state in states}
        return GossipMessage(self.name, self._number, {}, snapshots, levels)

    def _local_snapshot(self, id_: str) -> DeploymentSnapshot:
        state = self._load_balancer.deployment_states[id_]
        snapshot = state.snapshot(self._load_balancer.clock())
        cooldown, penalty = self._remote_waits.get(id_, (0.0, 0.0))
        return msgspec.structs.replace(
            snapshot,
            cooldown_s=snapshot.cooldown_s if state.cooldown_until > cooldown else 0.0,
            penalty_s=snapshot.penalty_s if state.penalty_until > penalty else 0.0,
        )

    def _all_deployment_ids(self) -> Iterable[str]:
        """The ids of all deployments, including those without traffic."""
        for deployment in self._deployments():
            self._load_balancer.deployment_state(deployment)
        return self._load_balancer.deployment_states

    # -- incoming

    def merge(self, message: GossipMessage) -> None:
        """Merge the message of another process. A repeated one changes nothing."""
        if message.sender == self.name or message.number <= self._last_numbers.get(
            message.sender, -1
        ):
            return
        now = self._load_balancer.clock()
        self._last_numbers[message.sender] = message.number
        self._peer_seen_at[message.sender] = now
        for id_, (cost, calls) in message.charges.items():
            if state := self._load_balancer.deployment_states.get(id_):
                state.capacity_model.add_remote_charges(cost, calls, now)
                state.last_used_at = now if calls else state.last_used_at
        self._merge_snapshots(message.snapshots)

    def _merge_snapshots(self, snapshots: Mapping[str, DeploymentSnapshot]) -> None:
        for id_, remote in snapshots.items():
            state = self._load_balancer.deployment_states.get(id_)
            if state is None:
                continue
            before = state.cooldown_until, state.penalty_until
            self._load_balancer.merge_remote(state, remote)
            after = state.cooldown_until, state.penalty_until
            if after != before:
                self._remote_waits[id_] = after

    # -- joining and isolation

    def join(self, others: Iterable[GossipMessage], *, was_isolated: bool) -> None:
        """Start from the snapshots of `others`.

        If this process was isolated, its capacity models hold charges that others have not
        received; otherwise they should hold the charges of all processes already.
        """
        list(self._all_deployment_ids())
        self.set_share(1.0)
        # A peer may seem silent only because this process was away.
        self._peer_seen_at = dict.fromkeys(self._peer_seen_at, self._load_balancer.clock())
        levels: dict[str, tuple[float, float]] = {}
        for message in others:
            if message.sender == self.name:
                continue
            self._last_numbers[message.sender] = message.number
            self._peer_seen_at[message.sender] = self._load_balancer.clock()
            self._merge_snapshots(message.snapshots)
            for id_, (cost, calls) in message.levels.items():
                highest = levels.get(id_, (0.0, 0.0))
                levels[id_] = max(cost, highest[0]), max(calls, highest[1])
        for id_, state in self._load_balancer.deployment_states.items():
            self._reconcile_levels(state, levels.get(id_, (0.0, 0.0)), was_isolated=was_isolated)

    def _reconcile_levels(
        self, state: DeploymentState, remote_levels: tuple[float, float], *, was_isolated: bool
    ) -> None:
        now, id_ = self._load_balancer.clock(), state.deployment_id
        local_levels = state.capacity_model.undrained_levels(now)
        if was_isolated:
            state.capacity_model.add_remote_charges(*remote_levels, now)
            if any(local_levels):
                self._pending_updates.costs[id_], self._pending_updates.calls[id_] = local_levels
        else:
            cost, calls = (
                max(0.0, remote_levels[0] - local_levels[0]),
                max(0.0, remote_levels[1] - local_levels[1]),
            )
            state.capacity_model.add_remote_charges(cost, calls, now)

    def isolate(self) -> None:
        """Without Redis: keep to this process' share of each deployment's capacity.

        Called repeatedly, to cover deployments that a reload adds, and to drop pending updates.
        """
        list(self._all_deployment_ids())
        self.set_share(min(1.0, _SHARE_OVERSUBSCRIPTION / self.process_count))
        self._pending_updates.drain()
        self._unsent_message = None

    def set_share(self, share: float) -> None:
        """Use this part of every deployment's capacity, 0 to 1."""
        now = self._load_balancer.clock()
        for state in self._load_balancer.deployment_states.values():
            state.capacity_model.set_share(share, now)
