"""When memory is given back to the system."""

import asyncio
import platform
import resource
import threading
from pathlib import Path

import pytest

from hamlet.net.server import memory_trim as tide
from hamlet.net.server.memory_trim import Tide


def leaving(tide: Tide, came: int, left: int) -> None:
    loop = asyncio.get_running_loop()
    for _ in range(came):
        tide.came()
    for _ in range(left):
        tide.went(loop)


async def test_memory_is_given_back_once_most_of_many_clients_have_gone(monkeypatch) -> None:
    given = threading.Event()
    monkeypatch.setattr(tide, "_EBB_S", 0.0)
    monkeypatch.setattr(tide, "_give_back", given.set)
    leaving(Tide(), came=400, left=301)
    assert await asyncio.to_thread(given.wait, 60)


async def test_few_clients_that_come_and_go_are_no_tide(monkeypatch) -> None:
    given: list[bool] = []
    monkeypatch.setattr(tide, "_EBB_S", 0.0)
    monkeypatch.setattr(tide, "_give_back", lambda: given.append(True))
    leaving(Tide(), came=150, left=150)
    leaving(Tide(), came=400, left=200)
    await asyncio.sleep(0.01)
    assert given == []


def resident() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="needs glibc's malloc")
def test_what_was_freed_is_given_back_to_the_system() -> None:
    # Under the size that malloc maps alone, and the last one holds the top of the heap.
    blocks = [b"x" * 100_000 for _ in range(1000)]
    last = blocks.pop()
    blocks.append(blocks)
    full = resident()
    del blocks
    tide._give_back()
    assert resident() < full - 50_000_000
    assert len(last) == 100_000
