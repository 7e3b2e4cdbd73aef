"""The legacy arm: a request through to hamlet1 and its answer back, byte for byte."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

from hamlet.migration import Answer
from hamlet.migration.legacy import Legacy, LegacyError
from hamlet.migration.proxy.wire import Body, Watched, body, start, target_of
from hamlet.net.server.asgi import Receive, Scope

# The server sets its own; two of them would be wrong.
_SERVERS_OWN = (b"date",)


class Left(Exception):
    """The client has gone."""


class Passage:
    """Passes requests through. One for all features."""

    def __init__(self, legacy: Legacy) -> None:
        self._legacy = legacy
        self._live: dict[asyncio.Task[object], bool] = {}

    def end_all(self) -> int:
        """Break off what still runs; its clients see an answer that is cut, and not a whole one."""
        for task in self._live:
            self._live[task] = True
            task.cancel()
        return len(self._live)

    async def through(
        self, scope: Scope, receive: Receive, send: Watched, whole: bytes | None = None
    ) -> None:
        """Pass one request through; `whole` is its body if that was read already.

        Raises LegacyError, or Left if the client went away. An answer that is broken off is left
        without its end, which makes the server close the connection.
        """
        work = asyncio.current_task()
        assert work is not None
        watcher: asyncio.Task[None] | None = None
        gone = False

        async def watch() -> None:
            nonlocal gone
            while (await receive())["type"] != "http.disconnect":
                pass
            gone = True
            work.cancel()

        def body_is_there() -> None:
            nonlocal watcher
            watcher = asyncio.create_task(watch())

        self._live[work] = False
        try:
            sent: bytes | AsyncIterator[bytes] | None = whole
            if whole is None:
                sent = await Body(receive, body_is_there).first()
            else:
                body_is_there()
            await self._exchange(scope, sent, send)
        except ConnectionResetError:
            raise Left from None
        except asyncio.CancelledError:
            ours = gone + self._live[work]
            if not ours or [work.uncancel() for _ in range(ours)][-1] > 0:
                raise
            if gone:
                raise Left from None
            raise LegacyError("hamlet is shutting down", begun=send.started) from None
        finally:
            del self._live[work]
            if watcher is not None:
                watcher.cancel()

    async def again(self, scope: Scope, whole: bytes, keep: int) -> Answer:
        """Ask hamlet1 once more, in the dark. Raises LegacyError."""

        async def nowhere(message: object) -> None:
            return None

        answer = Watched(nowhere, keep=keep)
        await self._exchange(scope, whole, answer)
        return answer.answer()

    async def _exchange(
        self, scope: Scope, sent: bytes | AsyncIterator[bytes] | None, send: Watched
    ) -> None:
        asking = self._legacy.ask(scope["method"], target_of(scope), scope["headers"], sent)
        async with asking as reply:
            kept = [pair for pair in reply.headers if pair[0] not in _SERVERS_OWN]
            await send(start(reply.status, kept))
            async for chunk in reply.chunks:
                await send(body(chunk, more=True))
        await send(body(b"", more=False))
