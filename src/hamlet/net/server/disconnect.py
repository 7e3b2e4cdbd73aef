"""Whether the client of a request is still there."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from hamlet.net.server.asgi import Receive, Scope

EXTENSION = "hamlet.presence"
"""The ASGI extension by which a connection gives its Presence, as `client`."""


class Presence:
    """One connection's client, as the connection itself knows it. One watches at a time."""

    __slots__ = ("_leave", "gone", "sent_all")

    def __init__(self) -> None:
        self.gone = False
        # Whether the whole request is known to be here.
        self.sent_all = False
        self._leave: Callable[[], None] | None = None

    def watch(self, leave: Callable[[], None]) -> None:
        """Call `leave` when the client goes; at once if it has gone."""
        if self.gone:
            leave()
        else:
            self._leave = leave

    def unwatch(self) -> None:
        """Call nobody any more. May be said twice."""
        self._leave = None

    def lost(self) -> None:
        """The client has gone."""
        self.gone = True
        if self._leave is not None:
            self._leave()


class _Asked(Presence):
    """ASGI's own way, by a task that reads on: dearer, for servers without the extension."""

    __slots__ = ("_receive", "_task")

    def __init__(self, receive: Receive) -> None:
        super().__init__()
        self._receive = receive
        self._task: asyncio.Task[None] | None = None

    def watch(self, leave: Callable[[], None]) -> None:
        super().watch(leave)
        self._task = asyncio.create_task(self._read_on())

    def unwatch(self) -> None:
        super().unwatch()
        if self._task is not None:
            self._task.cancel()

    async def _read_on(self) -> None:
        while (await self._receive())["type"] != "http.disconnect":
            pass
        self.lost()


def presence_of(scope: Scope, receive: Receive) -> Presence:
    """The client of a request. Watch it once the body has been read."""
    given = (scope.get("extensions") or {}).get(EXTENSION)
    return given["client"] if given else _Asked(receive)
