"""Look-ups of names: bounded per name, with the last good answer at hand."""

import asyncio
import socket
import subprocess
import sys
import threading

import pytest

from hamlet.net.client.resolver import Resolver
from support.server import wait_until

A, B = [(2, 1, 6, "", ("10.0.0.1", 80))], [(2, 1, 6, "", ("10.0.0.2", 80))]


class Names:
    """A name service whose names can be made to hang or fail."""

    def __init__(self) -> None:
        self.answers: dict[str, object] = {}
        self.silent: set[str] = set()
        self.lookups: list[str] = []
        self.released = threading.Event()
        self.now = 0.0

    def __call__(self, host: str, port: int):
        self.lookups.append(host)
        if host in self.silent:
            self.released.wait(30)
        found = self.answers[host]
        if isinstance(found, Exception):
            raise found
        return found

    def resolver(self) -> Resolver:
        return Resolver(self, lambda: self.now)


@pytest.fixture
def names():
    made = Names()
    yield made
    made.released.set()


async def test_names_that_hang_delay_no_other_name(names: Names) -> None:
    dead = [f"dead{i}" for i in range(40)]
    names.silent = set(dead)
    names.answers = dict.fromkeys(dead, A) | {"good": B}
    resolver = names.resolver()
    waiting = [asyncio.create_task(resolver.resolve(name, 80)) for name in dead]
    await wait_until(lambda: len(names.lookups) == 40)
    async with asyncio.timeout(5):
        assert await resolver.resolve("good", 80) == B
    assert not any(task.done() for task in waiting)
    names.released.set()
    assert await asyncio.gather(*waiting) == [A] * 40


async def test_concurrent_callers_share_one_lookup_of_a_name(names: Names) -> None:
    names.silent, names.answers = {"slow"}, {"slow": A}
    resolver = names.resolver()
    calls = [asyncio.create_task(resolver.resolve("slow", 80)) for _ in range(20)]
    await wait_until(lambda: bool(names.lookups))
    calls[0].cancel()
    names.released.set()
    assert await asyncio.gather(*calls[1:]) == [A] * 19
    assert names.lookups == ["slow"]


async def test_last_good_answer_serves_while_the_resolver_is_silent_or_fails(names: Names) -> None:
    names.answers = {"vendor": A}
    resolver = names.resolver()
    assert await resolver.resolve("vendor", 80) == A
    names.now += 60
    names.answers["vendor"] = socket.gaierror(socket.EAI_AGAIN, "try again")
    assert await resolver.resolve("vendor", 80) == A
    names.silent, names.answers["vendor"] = {"vendor"}, B
    assert await resolver.resolve("vendor", 80) == A
    assert await resolver.resolve("vendor", 80) == A
    assert names.lookups == ["vendor"] * 3
    names.released.set()
    await wait_until(lambda: resolver._answers["vendor", 80].addresses == B)
    assert await resolver.resolve("vendor", 80) == B


async def test_a_name_that_is_gone_or_was_never_there_is_refused(names: Names) -> None:
    names.answers = {"vendor": A}
    resolver = names.resolver()
    await resolver.resolve("vendor", 80)
    names.now += 60
    names.answers["vendor"] = socket.gaierror(socket.EAI_NONAME, "no such name")
    for _ in range(2):
        with pytest.raises(socket.gaierror):
            await resolver.resolve("vendor", 80)


async def test_an_answer_older_than_a_day_is_not_served_stale(names: Names) -> None:
    names.answers = {"vendor": A}
    resolver = names.resolver()
    await resolver.resolve("vendor", 80)
    names.now += 86_401
    names.answers["vendor"] = socket.gaierror(socket.EAI_AGAIN, "try again")
    with pytest.raises(socket.gaierror):
        await resolver.resolve("vendor", 80)


async def test_a_fresh_answer_is_used_and_an_older_one_looked_up_again(names: Names) -> None:
    names.answers = {"vendor": A}
    resolver = names.resolver()
    await resolver.resolve("vendor", 80)
    names.answers["vendor"] = B
    names.now += 4
    assert await resolver.resolve("vendor", 80) == A
    names.now += 2
    assert await resolver.resolve("vendor", 80) == B


async def test_lookups_and_names_are_bounded(names: Names, monkeypatch) -> None:
    monkeypatch.setattr("hamlet.net.client.resolver._MAX_LOOKUPS", 2)
    monkeypatch.setattr("hamlet.net.client.resolver._MAX_NAMES", 2)
    names.silent, names.answers = {"a", "b"}, dict.fromkeys("abcdef", A)
    resolver = names.resolver()
    waiting = [asyncio.create_task(resolver.resolve(name, 80)) for name in "ab"]
    await wait_until(lambda: len(names.lookups) == 2)
    with pytest.raises(socket.gaierror):
        await resolver.resolve("c", 80)
    names.released.set()
    await asyncio.gather(*waiting)
    for name in "cdef":
        await resolver.resolve(name, 80)
    assert {name for name, _ in resolver._answers} == {"e", "f"}


async def test_addresses_need_no_lookup(names: Names) -> None:
    resolver = names.resolver()
    for address in ("127.0.0.1", "::1"):
        (info,) = await resolver.resolve(address, 80)
        assert info[4][:2] == (address, 80)
    assert names.lookups == []


EXIT = """
import asyncio, time
from hamlet.net.client.resolver import Resolver
async def main():
    lookup = asyncio.create_task(Resolver(lambda *_: time.sleep(60)).resolve("silent", 80))
    await asyncio.sleep(0.1)
    lookup.cancel()
asyncio.run(main())
"""


def test_a_lookup_that_hangs_does_not_delay_exit() -> None:
    subprocess.run([sys.executable, "-c", EXIT], check=True, timeout=30)
