"""What users did with shown items: each event is stored once, and counted by tier and position."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from hamlet.suggest.item_tokens import ShownItem

_SCHEMA = """
create table if not exists event (
    id text primary key,
    type text not null,
    at real not null,
    response text not null,
    item text not null,
    part text not null,
    tier text not null,
    position integer not null,
    propensity real not null,
    value text,
    dwell_ms integer
) strict, without rowid;
create index if not exists event_by_place on event (part, tier, position, type);
"""
_RATES_SQL = """
select part, tier, position,
       count(*) filter (where type = 'impression') as impressions,
       count(*) filter (where type in ('click', 'submit')) as clicks
from event group by part, tier, position order by part, tier, position
"""
_COUNTS_SQL = """
select item, cast((:now - at) / 86400 as integer) as days,
       count(*) filter (where type = 'impression') as impressions,
       count(*) filter (where type in ('click', 'submit')) as clicks
from event where at > :now - 86400 * 60 group by item, days
"""
_HALF_LIFE_DAYS = 7.0


@dataclass(frozen=True, slots=True)
class Event:
    """One action on one shown item. `at` is Unix seconds, `dwell_ms` milliseconds."""

    id: str
    type: str
    at: float
    shown: ShownItem
    value: str | None = None
    dwell_ms: int | None = None


@dataclass(frozen=True, slots=True)
class ClickRate:
    """How often items of a tier at a position were shown and clicked."""

    part: str
    tier: str
    position: int
    impressions: int
    clicks: int

    @property
    def ctr(self) -> float | None:
        """Clicks per impression; None without impressions."""
        return self.clicks / self.impressions if self.impressions else None


class EventStore:
    """Events in SQLite, in write-ahead mode, on a thread of its own. `path` may be ":memory:".

    `on_event` receives each new event, in that thread.
    """

    def __init__(
        self, path: str = ":memory:", on_event: Callable[[Event], None] = lambda _: None
    ) -> None:
        self._path = path
        self._on_event = on_event
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="events")
        self._connection: sqlite3.Connection | None = None

    async def add(self, events: Sequence[Event]) -> int:
        """Store the events whose id is new, and return how many those are."""
        added: int = await self._run(self._add, events)
        return added

    async def click_rates(self) -> list[ClickRate]:
        """Impressions and clicks by part, tier and position."""
        rates: list[ClickRate] = await self._run(self._query_click_rates)
        return rates

    async def decayed_counts(self, now: float) -> dict[str, tuple[float, float]]:
        """Clicks and impressions by item id, halved for every 7 days of age. `now` is Unix time."""
        counts: dict[str, tuple[float, float]] = await self._run(self._query_decayed_counts, now)
        return counts

    async def aclose(self) -> None:
        """Close the file and stop the thread."""
        if self._connection is not None:
            await self._run(self._connection.close)
        self._thread.shutdown()

    async def _run(self, function: Any, *args: Any) -> Any:
        return await asyncio.get_running_loop().run_in_executor(self._thread, function, *args)

    def _connect(self) -> sqlite3.Connection:
        if self._connection is None:
            self._connection = sqlite3.connect(self._path)
            self._connection.execute("pragma journal_mode = wal")
            self._connection.execute("pragma synchronous = normal")
            self._connection.executescript(_SCHEMA)
        return self._connection

    def _add(self, events: Sequence[Event]) -> int:
        added = []
        insert = f"insert or ignore into event values ({','.join('?' * 11)})"  # noqa: S608
        with self._connect() as connection:
            for event in events:
                if connection.execute(insert, _event_row(event, event.shown)).rowcount:
                    added.append(event)
        for event in added:
            self._on_event(event)
        return len(added)

    def _query_click_rates(self) -> list[ClickRate]:
        return [ClickRate(*row) for row in self._connect().execute(_RATES_SQL)]

    def _query_decayed_counts(self, now: float) -> dict[str, tuple[float, float]]:
        counts: dict[str, tuple[float, float]] = {}
        for item, days, impressions, clicks in self._connect().execute(_COUNTS_SQL, {"now": now}):
            weight = 0.5 ** (max(0, days) / _HALF_LIFE_DAYS)
            previous = counts.get(item, (0.0, 0.0))
            counts[item] = (previous[0] + clicks * weight, previous[1] + impressions * weight)
        return counts


def _event_row(event: Event, shown: ShownItem) -> tuple[Any, ...]:
    item_columns = (
        shown.response,
        shown.item,
        shown.part,
        shown.tier,
        shown.position,
        shown.propensity,
    )
    return (event.id, event.type, event.at, *item_columns, event.value, event.dwell_ms)
