"""A second call beside a late first one: the first answer wins, the other is called off."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import TypeVar

from hamlet.core.errors import ProviderError

T = TypeVar("T")


async def run_hedged(
    primary: Awaitable[T],
    start_backup: Callable[[], Awaitable[T] | None],
    delay_s: float,
    discard: Callable[[T], Awaitable[None]],
    *,
    backup_on_failure: bool,
) -> T:
    """The first answer of two. `backup` is asked for after `after_s` seconds, and may decline.

    If the primary fails before that its error is raised, or with `stand_in` the backup takes its
    place. If both fail, the later error is raised. The loser is cancelled and waited for, and
    `discard` gets its answer if it still gave one.
    """
    first = asyncio.ensure_future(primary)
    tasks: list[asyncio.Future[T]] = [first]
    winner: asyncio.Future[T] | None = None
    try:
        await asyncio.wait(tasks, timeout=delay_s)
        if not first.done() or (backup_on_failure and _can_fail_over(first)):
            second = start_backup()
            if second is not None:
                tasks.append(asyncio.ensure_future(second))
        winner = await _first_response(tasks)
        return winner.result()
    finally:
        for loser in tasks:
            if loser is not winner:
                await _cancel_and_discard(loser, discard)


def _can_fail_over(task: asyncio.Future[T]) -> bool:
    """Whether another deployment might do better."""
    error = task.exception()
    return isinstance(error, ProviderError) and error.try_other


async def _first_response(tasks: list[asyncio.Future[T]]) -> asyncio.Future[T]:
    """The first task that ends well, or with an error that ends the matter; else the last."""
    pending = set(tasks)
    while True:
        done, pending = await asyncio.wait(pending, return_when=asyncio.FIRST_COMPLETED)
        for task in sorted(done, key=_can_fail_over):
            if not _can_fail_over(task) or not pending:
                return task


async def _cancel_and_discard(
    loser: asyncio.Future[T], discard: Callable[[T], Awaitable[None]]
) -> None:
    loser.cancel()
    with suppress(asyncio.CancelledError, Exception):
        await discard(await loser)
