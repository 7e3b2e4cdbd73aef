"""Writing chips by a model: a failing route is left alone, and calls are limited."""

import asyncio

import pytest

from hamlet.gateway import Call, Caller, ChatStream
from hamlet.suggest import ChipWriter
from hamlet.suggest.model import SuggestRequest


class FailingGateway:
    call_count = 0

    async def chat(self, call: Call, caller: Caller) -> ChatStream:
        self.call_count += 1
        raise TimeoutError


class HangingGateway(FailingGateway):
    async def chat(self, call: Call, caller: Caller) -> ChatStream:
        self.call_count += 1
        await asyncio.Event().wait()
        raise AssertionError


async def test_failing_route_opens_the_breaker() -> None:
    now = [100.0]
    models = FailingGateway()
    writer = ChipWriter(models, "chips", lambda: now[0])
    for _ in range(10):
        with pytest.raises(Exception):  # noqa: B017
            await writer.write(SuggestRequest("ko", query="막차"), [])
    assert models.call_count == 3
    now[0] += 16
    with pytest.raises(TimeoutError):
        await writer.write(SuggestRequest("ko", query="막차"), [])
    assert models.call_count == 4


async def test_concurrent_calls_are_limited() -> None:
    models = HangingGateway()
    writer = ChipWriter(models, "chips")
    tasks = [
        asyncio.create_task(writer.write(SuggestRequest("ko", query="막차"), [])) for _ in range(50)
    ]
    done, waiting = await asyncio.wait(tasks, timeout=0.2)
    assert models.call_count == len(waiting) == 16
    assert all(task.exception() for task in done)
    for task in waiting:
        task.cancel()
    await asyncio.gather(*waiting, return_exceptions=True)
