"""The background task that exchanges state with the other processes, through Redis."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import Any, Literal

from hamlet.registry import Deployment
from hamlet.routing.deployment_state import DeploymentState
from hamlet.routing.gossip.merger import Merger
from hamlet.routing.gossip.message import GossipMessage, decode, encode
from hamlet.routing.gossip.probe_leases import LEASE_TTL_S, ProbeLeases
from hamlet.routing.gossip.redis_connection import CONNECT_TIMEOUT_S, Command, RedisConnection
from hamlet.routing.load_balancer import LoadBalancer
from hamlet.spi import Log

SyncState = Literal["local", "shared", "away"]

_SYNC_INTERVAL_S, _COMMAND_TIMEOUT_S = 0.2, 0.05
_HEARTBEAT_S, _SILENCE_TIMEOUT_S = 1.0, 3.0
_SNAPSHOT_TTL_MS, _MEMBERS_TTL_MS = 5_000, 60_000
_MAX_CONSECUTIVE_FAILURES = 3
_RECONNECT_INTERVAL_S = 1.0
_CANCEL_INTERVAL_S = 0.5
# Takes the lease, or extends it if this process holds it.
_LEASE_SCRIPT = """
local holder = redis.call('get', KEYS[1])
if holder and holder ~= ARGV[1] then return 0 end
redis.call('set', KEYS[1], ARGV[1], 'PX', ARGV[2])
return 1
"""


class SyncTask:
    """Publishes what is new every 200 ms and merges what others publish; no call waits for it.

    After three failures in a row its state is "away": this process keeps to its share of the
    capacity and tries Redis again every second. `on_state_change` is called with each new state.
    """

    def __init__(
        self,
        load_balancer: LoadBalancer,
        probe_leases: ProbeLeases,
        url: str,
        group: str,
        deployments: Callable[[], Iterable[Deployment]],
        log: Log,
        on_state_change: Callable[[SyncState], None] = lambda _: None,
        *,
        interval_s: float = _SYNC_INTERVAL_S,
        timeout_s: float = _COMMAND_TIMEOUT_S,
    ) -> None:
        """Processes of one `group` share their state. `timeout_s` bounds each command to Redis.

        The load balancer must have `pending_updates`, and ask `probe_leases.is_held` for probes.
        """
        self.merger = Merger(load_balancer, f"{random.getrandbits(64):016x}", deployments)
        self.probe_leases = probe_leases
        self.state: SyncState = "local"
        self._load_balancer = load_balancer
        self._clock = load_balancer.clock
        self._url = url
        self._prefix = f"hamlet:fleet:{group}:"
        self._log = log
        self._on_state_change = on_state_change
        self._interval_s, self._timeout_s = interval_s, timeout_s
        self._consecutive_failures = 0
        self._last_message_at = 0.0
        self._task: asyncio.Task[None] | None = None

    @property
    def process_count(self) -> int:
        """The number of live processes, this one included, as far as is known."""
        return self.merger.process_count

    def start(self) -> None:
        """Start the task in the running loop."""
        self._task = asyncio.get_running_loop().create_task(self._run())

    async def aclose(self) -> None:
        """Stop, and remove this process from the list of members if Redis answers in time."""
        if self._task is None:
            return
        while not self._task.done():
            # Repeatedly, since redis-py has been seen to swallow a cancellation.
            self._task.cancel()
            await asyncio.wait({self._task}, timeout=_CANCEL_INTERVAL_S)
        self._task = None
        if self.state == "shared":
            connection = RedisConnection(self._url, self._timeout_s)
            with suppress(Exception):
                await connection.open(self._prefix + "news")
                await connection.execute(
                    ("DEL", self._snapshot_key), ("SREM", self._prefix + "members", self._name)
                )
            await connection.aclose()

    def _deployment_states(self) -> Iterable[DeploymentState]:
        return self._load_balancer.deployment_states.values()

    @property
    def _name(self) -> str:
        return self.merger.name

    @property
    def _snapshot_key(self) -> str:
        return f"{self._prefix}of:{self._name}"

    async def _run(self) -> None:
        while True:
            connection = RedisConnection(self._url, self._timeout_s)
            try:
                await self._sync(connection)
            except Exception as error:
                # Whatever it is, this process goes on serving: isolated, if it persists.
                self._consecutive_failures += 1
                if self._consecutive_failures >= _MAX_CONSECUTIVE_FAILURES:
                    self.merger.isolate()
                    self._set_state("away", _root_cause(error))
            finally:
                await connection.aclose()
            if self.state == "away":
                await self._run_isolated()
            else:
                await asyncio.sleep(0)

    async def _run_isolated(self) -> None:
        reconnect_at = self._clock() + _RECONNECT_INTERVAL_S * random.uniform(0.8, 1.2)
        while self._clock() < reconnect_at:
            self.merger.isolate()
            self.probe_leases.assign_randomly(self._deployment_states(), self.process_count)
            await asyncio.sleep(self._interval_s)

    async def _sync(self, connection: RedisConnection) -> None:
        await connection.open(self._prefix + "news")
        self._last_message_at = self._clock()
        await self._join_group(connection)
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._receive_messages(connection))
            tasks.create_task(self._publish_periodically(connection))

    async def _join_group(self, connection: RedisConnection) -> None:
        members_key = self._prefix + "members"
        _, _, names = await connection.execute(
            ("SADD", members_key, self._name),
            ("PEXPIRE", members_key, _MEMBERS_TTL_MS),
            ("SMEMBERS", members_key),
            timeout_s=CONNECT_TIMEOUT_S,
        )
        keys = [f"{self._prefix}of:".encode() + name for name in names]
        (snapshots,) = await connection.execute(("MGET", *keys), timeout_s=CONNECT_TIMEOUT_S)
        if expired := [
            n for n, s in zip(names, snapshots, strict=True) if s is None and n != self._name_bytes
        ]:
            await connection.execute(("SREM", members_key, *expired), timeout_s=CONNECT_TIMEOUT_S)
        messages = (decode(snapshot) for snapshot in snapshots if snapshot)
        self.merger.join(
            (message for message in messages if message), was_isolated=self.state != "shared"
        )
        await self._flush(connection, full=True)
        self._set_state("shared")

    @property
    def _name_bytes(self) -> bytes:
        return self._name.encode()

    async def _receive_messages(self, connection: RedisConnection) -> None:
        async for data in connection.messages():
            if message := decode(data):
                self._last_message_at = self._clock()
                self.merger.merge(message)

    async def _publish_periodically(self, connection: RedisConnection) -> None:
        heartbeat_at = self._clock() + _HEARTBEAT_S
        while True:
            await asyncio.sleep(self._interval_s)
            full = self._clock() >= heartbeat_at
            await self._flush(connection, full=full)
            self._consecutive_failures = 0
            if full:
                heartbeat_at = self._clock() + _HEARTBEAT_S
            # Our own messages come back too: without even those, the subscription is dead.
            if self._clock() - self._last_message_at > _SILENCE_TIMEOUT_S:
                raise TimeoutError("no message for too long")

    async def _flush(self, connection: RedisConnection, *, full: bool) -> None:
        message, lease_ids = (
            self.merger.next_message(full=full),
            self.probe_leases.ids_to_request(self._deployment_states()),
        )
        commands = [
            *self._publish_commands(message, full=full),
            *map(self._lease_command, lease_ids),
        ]
        requested_at = self._clock()
        replies: list[Any] = await connection.execute(*commands) if commands else []
        self.merger.mark_sent()
        for deployment_id, reply in zip(reversed(lease_ids), reversed(replies), strict=False):
            if reply:
                self.probe_leases.on_granted(deployment_id, requested_at)
            else:
                self.probe_leases.on_refused(deployment_id)

    def _publish_commands(self, message: GossipMessage | None, *, full: bool) -> list[Command]:
        commands: list[Command] = []
        if message is not None:
            commands.append(("PUBLISH", self._prefix + "news", encode(message)))
        if full:
            snapshot = encode(self.merger.snapshot_message())
            members_key = self._prefix + "members"
            commands += [
                ("SET", self._snapshot_key, snapshot, "PX", _SNAPSHOT_TTL_MS),
                ("SADD", members_key, self._name),
                ("PEXPIRE", members_key, _MEMBERS_TTL_MS),
            ]
        return commands

    def _lease_command(self, deployment_id: str) -> Command:
        key = f"{self._prefix}lease:{deployment_id}"
        return ("EVAL", _LEASE_SCRIPT, 1, key, self._name, int(LEASE_TTL_S * 1000))

    def _set_state(self, state: SyncState, error: BaseException | None = None) -> None:
        if state == self.state:
            return
        self.state = state
        if state == "away":
            # The message may quote the command, so only the type is logged.
            self._log.warning(
                "fleet.away", error=type(error).__name__, processes=self.process_count
            )
        else:
            self._log.info("fleet.shared", processes=self.process_count)
        self._on_state_change(state)


def _root_cause(error: BaseException) -> BaseException:
    """The first error inside of exception groups."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error
