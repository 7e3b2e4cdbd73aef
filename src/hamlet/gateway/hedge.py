"""Hedged calls: a second one when the first is late, and the first good result wins.

Knows nothing of models: `hamlet.suggest` hedges web searches with it too. See Dean and Barroso,
"The Tail at Scale", https://research.google/pubs/the-tail-at-scale/.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import TypeVar

from hamlet.core.errors import ProviderError

T = TypeVar("T")


def can_fail_over(error: BaseException) -> bool:
    """Whether another upstream may succeed where one has failed with `error`."""
    return isinstance(error, ProviderError) and error.try_other


async def run_hedged(
    primary: Awaitable[T],
    start_backup: Callable[[], Awaitable[T] | None],
    delay_s: float,
    discard: Callable[[T], Awaitable[None]],
    *,
    backup_on_failure: bool,
    is_recoverable: Callable[[BaseException], bool] = can_fail_over,
) -> T:
    """The first result of `primary` and of the backup that is started after `delay_s` seconds.

    `start_backup` may return None to start none. If the primary fails before the delay is over, its
    error is raised, or with `backup_on_failure` the backup starts at once. An error that is not
    `is_recoverable` ends both; if both fail, the later error is raised. The loser is cancelled and
    awaited, and a result that it still has is passed to `discard`.
    """
    first = asyncio.ensure_future(primary)
    tasks: list[asyncio.Future[T]] = [first]
    winner: asyncio.Future[T] | None = None

    def is_recoverable_failure(task: asyncio.Future[T]) -> bool:
        error = task.exception()
        return error is not None and is_recoverable(error)

    try:
        await asyncio.wait(tasks, timeout=delay_s)
        if not first.done() or (backup_on_failure and is_recoverable_failure(first)):
            backup = start_backup()
            if backup is not None:
                tasks.append(asyncio.ensure_future(backup))
        winner = await _first_result(tasks, is_recoverable_failure)
        return winner.result()
    finally:
        for loser in tasks:
            if loser is not winner:
                await _cancel_and_discard(loser, discard)


async def _first_result(
    tasks: list[asyncio.Future[T]], is_recoverable_failure: Callable[[asyncio.Future[T]], bool]
) -> asyncio.Future[T]:
    """The first task with a result or an error that is final; else the last task to fail."""
    pending = set(tasks)
    while True:
        done, pending = await asyncio.wait(pending, return_when=asyncio.FIRST_COMPLETED)
        for task in sorted(done, key=is_recoverable_failure):
            if not is_recoverable_failure(task) or not pending:
                return task


async def _cancel_and_discard(
    loser: asyncio.Future[T], discard: Callable[[T], Awaitable[None]]
) -> None:
    loser.cancel()
    with suppress(asyncio.CancelledError, Exception):
        await discard(await loser)
