"""Whether a request's client has disconnected, by our extension or by plain ASGI."""

import asyncio
from typing import Any

from hamlet.net.server.disconnect import EXTENSION, DisconnectWatcher, disconnect_watcher_of


async def never_disconnects() -> Any:
    await asyncio.Event().wait()


def test_disconnect_extension_is_used() -> None:
    client, left = DisconnectWatcher(), []
    scope = {"extensions": {EXTENSION: {"client": client}}}
    assert disconnect_watcher_of(scope, never_disconnects) is client
    client.subscribe(lambda: left.append("left"))
    client.mark_disconnected()
    assert left == ["left"]


def test_late_callback_is_called_at_once() -> None:
    client, left = DisconnectWatcher(), []
    client.mark_disconnected()
    client.subscribe(lambda: left.append("left"))
    assert left == ["left"]


def test_removed_callback_is_not_called() -> None:
    client, left = DisconnectWatcher(), []
    client.subscribe(lambda: left.append("left"))
    client.unsubscribe()
    client.mark_disconnected()
    assert left == []


async def test_asgi_disconnect_message_calls_callback() -> None:
    messages = [{"type": "http.disconnect"}, {"type": "http.request", "body": b""}]

    async def receive() -> Any:
        return messages.pop()

    left = asyncio.Event()
    client = disconnect_watcher_of({"extensions": {}}, receive)
    client.subscribe(left.set)
    async with asyncio.timeout(5):
        await left.wait()
    client.unsubscribe()
    assert client.disconnected


async def test_receive_task_is_cancelled_without_callback() -> None:
    before = asyncio.all_tasks()
    client = disconnect_watcher_of({}, never_disconnects)
    client.subscribe(lambda: None)
    (task,) = asyncio.all_tasks() - before
    await asyncio.sleep(0)
    client.unsubscribe()
    await asyncio.wait({task}, timeout=5)
    assert task.cancelled()
