"""When memory is given back to the system."""

import asyncio
import platform
import resource
import threading
from pathlib import Path

import pytest

from hamlet.net.server import memory_trim as tide
from hamlet.net.server.memory_trim import MemoryTrim


def connect_and_disconnect(memory_trim: MemoryTrim, came: int, left: int) -> None:
    loop = asyncio.get_running_loop()
    for _ in range(came):
        memory_trim.on_connect()
    for _ in range(left):
        memory_trim.on_disconnect(loop)


async def test_trims_after_most_clients_disconnect(monkeypatch) -> None:
    given = threading.Event()
    monkeypatch.setattr(tide, "_TRIM_DELAY_S", 0.0)
    monkeypatch.setattr(tide, "_trim", given.set)
    connect_and_disconnect(MemoryTrim(), came=400, left=301)
    assert await asyncio.to_thread(given.wait, 60)


async def test_small_drop_in_clients_does_not_trim(monkeypatch) -> None:
    given: list[bool] = []
    monkeypatch.setattr(tide, "_TRIM_DELAY_S", 0.0)
    monkeypatch.setattr(tide, "_trim", lambda: given.append(True))
    connect_and_disconnect(MemoryTrim(), came=150, left=150)
    connect_and_disconnect(MemoryTrim(), came=400, left=200)
    await asyncio.sleep(0.01)
    assert given == []


def resident_bytes() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="needs glibc's malloc")
def test_trim_returns_freed_memory_to_system() -> None:
    # Under the size that malloc maps alone, and the last one holds the top of the heap.
    blocks = [b"x" * 100_000 for _ in range(1000)]
    last = blocks.pop()
    blocks.append(blocks)
    full = resident_bytes()
    del blocks
    tide._trim()
    assert resident_bytes() < full - 50_000_000
    assert len(last) == 100_000
