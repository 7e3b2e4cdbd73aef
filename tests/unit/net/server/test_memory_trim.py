"""When freed memory is given back to the system."""

import asyncio
import platform
import resource
import threading
from pathlib import Path

import pytest

from hamlet.net.server import memory_trim as memory_trim_module
from hamlet.net.server.memory_trim import MemoryTrim
from hamlet.net.timers.timer_wheel import running_wheel


def connect_and_disconnect(memory_trim: MemoryTrim, connects: int, disconnects: int) -> None:
    for _ in range(connects):
        memory_trim.on_connect()
    for _ in range(disconnects):
        memory_trim.on_disconnect()


async def test_trims_after_most_clients_disconnect(monkeypatch) -> None:
    trimmed = threading.Event()
    monkeypatch.setattr(memory_trim_module, "_TRIM_DELAY_S", 0.0)
    monkeypatch.setattr(memory_trim_module, "_trim", trimmed.set)
    connect_and_disconnect(MemoryTrim(running_wheel()), connects=400, disconnects=301)
    assert await asyncio.to_thread(trimmed.wait, 60)


async def test_small_drop_in_clients_does_not_trim(monkeypatch) -> None:
    trims: list[bool] = []
    monkeypatch.setattr(memory_trim_module, "_TRIM_DELAY_S", 0.0)
    monkeypatch.setattr(memory_trim_module, "_trim", lambda: trims.append(True))
    connect_and_disconnect(MemoryTrim(running_wheel()), connects=150, disconnects=150)
    connect_and_disconnect(MemoryTrim(running_wheel()), connects=400, disconnects=200)
    # Longer than a slot of the wheel.
    await asyncio.sleep(0.15)
    assert trims == []


def resident_bytes() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="needs glibc's malloc")
def test_trim_returns_freed_memory_to_system() -> None:
    # Below the size for which malloc uses mmap; the last one keeps the top of the heap.
    blocks = [b"x" * 100_000 for _ in range(1000)]
    last = blocks.pop()
    blocks.append(blocks)
    full = resident_bytes()
    del blocks
    memory_trim_module._trim()
    assert resident_bytes() < full - 50_000_000
    assert len(last) == 100_000
