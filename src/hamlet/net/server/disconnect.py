"""Whether the client of a request is still connected."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from hamlet.net.server.asgi import Receive, Scope

EXTENSION = "hamlet.presence"
"""The ASGI extension with which a connection provides its DisconnectWatcher, as `client`."""


class DisconnectWatcher:
    """Reports the disconnect of one connection's client to at most one subscriber."""

    __slots__ = ("_on_disconnect", "disconnected", "request_complete")

    def __init__(self) -> None:
        self.disconnected = False
        # Whether the whole request is known to have arrived.
        self.request_complete = False
        self._on_disconnect: Callable[[], None] | None = None

    def subscribe(self, on_disconnect: Callable[[], None]) -> None:
        """Call `on_disconnect` when the client disconnects; at once if it has."""
        if self.disconnected:
            on_disconnect()
        else:
            self._on_disconnect = on_disconnect

    def unsubscribe(self) -> None:
        """Call nobody any more. Idempotent."""
        self._on_disconnect = None

    def mark_disconnected(self) -> None:
        """Record that the client has disconnected, and call the subscriber."""
        self.disconnected = True
        if self._on_disconnect is not None:
            self._on_disconnect()


class _AsgiDisconnectWatcher(DisconnectWatcher):
    """For servers without the extension: a task that reads on, as ASGI intends; costs more."""

    __slots__ = ("_receive", "_task")

    def __init__(self, receive: Receive) -> None:
        super().__init__()
        self._receive = receive
        self._task: asyncio.Task[None] | None = None

    def subscribe(self, on_disconnect: Callable[[], None]) -> None:
        super().subscribe(on_disconnect)
        self._task = asyncio.create_task(self._wait_for_disconnect())

    def unsubscribe(self) -> None:
        super().unsubscribe()
        if self._task is not None:
            self._task.cancel()

    async def _wait_for_disconnect(self) -> None:
        while (await self._receive())["type"] != "http.disconnect":
            pass
        self.mark_disconnected()


def disconnect_watcher_of(scope: Scope, receive: Receive) -> DisconnectWatcher:
    """The watcher of a request's client. Subscribe once the body has been read."""
    given = (scope.get("extensions") or {}).get(EXTENSION)
    return given["client"] if given else _AsgiDisconnectWatcher(receive)
