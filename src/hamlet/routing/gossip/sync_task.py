"""The background task through which processes share what they know, by way of Redis."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import Any, Literal

from hamlet.registry import Deployment
from hamlet.routing.gossip.merger import Exchange
from hamlet.routing.gossip.message import Tidings, decode, encode
from hamlet.routing.gossip.probe_leases import LEASE_S, Leases
from hamlet.routing.gossip.redis_connection import CONNECT_S, Command, Link
from hamlet.routing.load_balancer import Fleet
from hamlet.spi import Log

State = Literal["local", "shared", "away"]

_EVERY_S, _WAIT_S = 0.2, 0.05
_BEAT_S, _SILENCE_S = 1.0, 3.0
_SNAPSHOT_MS, _MEMBERS_MS = 5_000, 60_000
_STRIKES = 3
_RETRY_S = 1.0
_INSIST_S = 0.5
# Takes the lease, or has it last longer if it is ours.
_LEASE = """
local holder = redis.call('get', KEYS[1])
if holder and holder ~= ARGV[1] then return 0 end
redis.call('set', KEYS[1], ARGV[1], 'PX', ARGV[2])
return 1
"""


class Sharing:
    """Every 200 ms says what is new, and hears what others say; no call ever waits for it.

    After three troubles in a row it is "away": each process has its share of the capacity, and
    tries Redis again every second. `on_state` hears of each change.
    """

    def __init__(
        self,
        fleet: Fleet,
        url: str,
        group: str,
        deployments: Callable[[], Iterable[Deployment]],
        log: Log,
        on_state: Callable[[State], None] = lambda _: None,
        *,
        every_s: float = _EVERY_S,
        wait_s: float = _WAIT_S,
    ) -> None:
        """Processes of one `group` share. `wait_s` is how long a command to Redis may take."""
        self.exchange = Exchange(fleet, f"{random.getrandbits(64):016x}", deployments)
        self.leases = Leases(fleet)
        self.state: State = "local"
        fleet.lease = self.leases.holds
        self._clock = fleet.clock
        self._url = url
        self._prefix = f"hamlet:fleet:{group}:"
        self._log = log
        self._on_state = on_state
        self._every_s, self._wait_s = every_s, wait_s
        self._strikes = 0
        self._heard_at = 0.0
        self._task: asyncio.Task[None] | None = None

    @property
    def processes(self) -> int:
        """How many there are, this one included, as far as is known."""
        return self.exchange.processes

    def start(self) -> None:
        """Begin."""
        self._task = asyncio.get_running_loop().create_task(self._run())

    async def aclose(self) -> None:
        """Stop, and take our name off the list if that is quickly done."""
        if self._task is None:
            return
        while not self._task.done():
            # Again and again: a client library has been seen to swallow a cancellation.
            self._task.cancel()
            await asyncio.wait({self._task}, timeout=_INSIST_S)
        self._task = None
        if self.state == "shared":
            link = Link(self._url, self._wait_s)
            with suppress(Exception):
                await link.open(self._prefix + "news")
                await link.ask(("DEL", self._own), ("SREM", self._prefix + "members", self._name))
            await link.aclose()

    @property
    def _name(self) -> str:
        return self.exchange.name

    @property
    def _own(self) -> str:
        return f"{self._prefix}of:{self._name}"

    async def _run(self) -> None:
        while True:
            link = Link(self._url, self._wait_s)
            try:
                await self._share(link)
            except Exception as error:
                # Whatever it is, the processes serve on: alone, if it comes again.
                self._strikes += 1
                if self._strikes >= _STRIKES:
                    self.exchange.part()
                    self._become("away", _root(error))
            finally:
                await link.aclose()
            if self.state == "away":
                await self._stay_away()
            else:
                await asyncio.sleep(0)

    async def _stay_away(self) -> None:
        again_at = self._clock() + _RETRY_S * random.uniform(0.8, 1.2)
        while self._clock() < again_at:
            self.exchange.part()
            self.leases.draw(self.processes)
            await asyncio.sleep(self._every_s)

    async def _share(self, link: Link) -> None:
        await link.open(self._prefix + "news")
        self._heard_at = self._clock()
        await self._join(link)
        async with asyncio.TaskGroup() as both:
            both.create_task(self._hear(link))
            both.create_task(self._tell(link))

    async def _join(self, link: Link) -> None:
        members = self._prefix + "members"
        _, _, names = await link.ask(
            ("SADD", members, self._name),
            ("PEXPIRE", members, _MEMBERS_MS),
            ("SMEMBERS", members),
            wait_s=CONNECT_S,
        )
        keys = [f"{self._prefix}of:".encode() + name for name in names]
        (snapshots,) = await link.ask(("MGET", *keys), wait_s=CONNECT_S)
        if gone := [
            n for n, s in zip(names, snapshots, strict=True) if s is None and n != self._me
        ]:
            await link.ask(("SREM", members, *gone), wait_s=CONNECT_S)
        told = (decode(snapshot) for snapshot in snapshots if snapshot)
        self.exchange.join((t for t in told if t), alone=self.state != "shared")
        await self._flush(link, whole=True)
        self._become("shared")

    @property
    def _me(self) -> bytes:
        return self._name.encode()

    async def _hear(self, link: Link) -> None:
        async for data in link.messages():
            if tidings := decode(data):
                self._heard_at = self._clock()
                self.exchange.absorb(tidings)

    async def _tell(self, link: Link) -> None:
        beat_at = self._clock() + _BEAT_S
        while True:
            await asyncio.sleep(self._every_s)
            whole = self._clock() >= beat_at
            await self._flush(link, whole=whole)
            self._strikes = 0
            if whole:
                beat_at = self._clock() + _BEAT_S
            # We hear ourselves too: if not even that, the subscription is dead.
            if self._clock() - self._heard_at > _SILENCE_S:
                raise TimeoutError("nothing is heard any more")

    async def _flush(self, link: Link, *, whole: bool) -> None:
        tidings, wanted = self.exchange.tidings(whole=whole), self.leases.wanted()
        commands = [*self._news(tidings, whole=whole), *map(self._lease, wanted)]
        asked_at = self._clock()
        answers: list[Any] = await link.ask(*commands) if commands else []
        self.exchange.sent()
        for deployment_id, answer in zip(reversed(wanted), reversed(answers), strict=False):
            if answer:
                self.leases.granted(deployment_id, asked_at)
            else:
                self.leases.refused(deployment_id)

    def _news(self, tidings: Tidings | None, *, whole: bool) -> list[Command]:
        commands: list[Command] = []
        if tidings is not None:
            commands.append(("PUBLISH", self._prefix + "news", encode(tidings)))
        if whole:
            snapshot = encode(self.exchange.snapshot())
            members = self._prefix + "members"
            commands += [
                ("SET", self._own, snapshot, "PX", _SNAPSHOT_MS),
                ("SADD", members, self._name),
                ("PEXPIRE", members, _MEMBERS_MS),
            ]
        return commands

    def _lease(self, deployment_id: str) -> Command:
        key = f"{self._prefix}lease:{deployment_id}"
        return ("EVAL", _LEASE, 1, key, self._name, int(LEASE_S * 1000))

    def _become(self, state: State, error: BaseException | None = None) -> None:
        if state == self.state:
            return
        self.state = state
        if state == "away":
            # The message may quote the command: its kind has to do.
            self._log.warning("fleet.away", error=type(error).__name__, processes=self.processes)
        else:
            self._log.info("fleet.shared", processes=self.processes)
        self._on_state(state)


def _root(error: BaseException) -> BaseException:
    """What went wrong first, out of a group's wrapping."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error
