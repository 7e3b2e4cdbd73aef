"""Hedged calls of anything awaitable."""

import asyncio

import pytest

from hamlet.gateway.hedge import run_hedged


class Search:
    """Awaitables that succeed or fail after a delay, and the results that were discarded."""

    def __init__(self) -> None:
        self.discarded: list[str] = []
        self.backups: list[str] = []

    async def run(self, result: str | Exception, delay_s: float = 0.0) -> str:
        await asyncio.sleep(delay_s)
        if isinstance(result, Exception):
            raise result
        return result

    async def discard(self, result: str) -> None:
        self.discarded.append(result)

    async def hedged(self, primary, backup, delay_s: float = 5.0, **options) -> str:
        options = {"backup_on_failure": True, **options}

        def start_backup():
            self.backups.append("started")
            return self.run(*backup) if backup is not None else None

        return await run_hedged(self.run(*primary), start_backup, delay_s, self.discard, **options)


def recoverable(error: BaseException) -> bool:
    return isinstance(error, ConnectionError)


async def test_late_primary_loses_to_backup() -> None:
    search = Search()
    assert await search.hedged(("late", 30.0), ("backup",), delay_s=0.01) == "backup"


async def test_backup_is_not_started_before_the_delay() -> None:
    search = Search()
    assert await search.hedged(("primary",), ("backup",)) == "primary"
    assert search.backups == []


async def test_caller_of_run_hedged_says_which_errors_are_recoverable() -> None:
    search, broken = Search(), (ConnectionError("reset"),)
    assert await search.hedged(broken, ("backup",), is_recoverable=recoverable) == "backup"
    with pytest.raises(ConnectionError):
        await search.hedged(broken, ("backup",))
    with pytest.raises(KeyError):
        await search.hedged((KeyError("bug"),), ("backup",), is_recoverable=recoverable)
    assert search.backups == ["started"]


async def test_later_error_is_raised_if_both_fail() -> None:
    search = Search()
    with pytest.raises(ConnectionError, match="second"):
        await search.hedged(
            (ConnectionError("first"),),
            (ConnectionError("second"), 0.01),
            is_recoverable=recoverable,
        )


async def test_declined_backup_leaves_primary() -> None:
    search = Search()
    assert await search.hedged(("primary", 0.03), None, delay_s=0.01) == "primary"
    assert search.backups == ["started"]
