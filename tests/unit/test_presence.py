"""Whether a request's client is still there, told by the connection or by ASGI itself."""

import asyncio
from typing import Any

from hamlet.net.server.disconnect import EXTENSION, Presence, presence_of


async def stays() -> Any:
    await asyncio.Event().wait()


def test_a_connection_that_knows_is_believed() -> None:
    client, left = Presence(), []
    scope = {"extensions": {EXTENSION: {"client": client}}}
    assert presence_of(scope, stays) is client
    client.watch(lambda: left.append("left"))
    client.lost()
    assert left == ["left"]


def test_who_watches_too_late_is_told_at_once() -> None:
    client, left = Presence(), []
    client.lost()
    client.watch(lambda: left.append("left"))
    assert left == ["left"]


def test_who_no_longer_watches_is_not_told() -> None:
    client, left = Presence(), []
    client.watch(lambda: left.append("left"))
    client.unwatch()
    client.lost()
    assert left == []


async def test_without_the_extension_a_disconnect_tells() -> None:
    messages = [{"type": "http.disconnect"}, {"type": "http.request", "body": b""}]

    async def receive() -> Any:
        return messages.pop()

    left = asyncio.Event()
    client = presence_of({"extensions": {}}, receive)
    client.watch(left.set)
    async with asyncio.timeout(5):
        await left.wait()
    client.unwatch()
    assert client.gone


async def test_without_the_extension_nothing_is_read_once_nobody_watches() -> None:
    before = asyncio.all_tasks()
    client = presence_of({}, stays)
    client.watch(lambda: None)
    (task,) = asyncio.all_tasks() - before
    await asyncio.sleep(0)
    client.unwatch()
    await asyncio.wait({task}, timeout=5)
    assert task.cancelled()
