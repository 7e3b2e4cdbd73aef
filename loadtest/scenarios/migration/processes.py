"""The clients of the migration run: an open loop of requests by forty users."""

from __future__ import annotations

import asyncio
import json
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import aiohttp

from hamlet.migration.cohort import Cohort

CANARY_STEPS_BP = (100, 500, 2000, 5000, 10_000)


@dataclass
class ClientResult:
    """The result of one request, as its client sees it. Times are seconds of time.monotonic()."""

    number: int
    user: str
    started_at_s: float
    stream: bool
    ok: bool = False
    has_started: bool = False
    duration_s: float = 0.0
    error: str = ""


def cohort_users() -> list[str]:
    """Forty users, some in each canary step, so that small shares get traffic too."""
    missing, found, i = Counter(dict(zip(CANARY_STEPS_BP, (2, 3, 8, 12, 15), strict=True))), [], 0
    while missing.total():
        name = f"user-{i}"
        step_bp = next(
            share for share in CANARY_STEPS_BP if Cohort("hamlet", "chat").bucket(name) < share
        )
        if missing[step_bp]:
            missing[step_bp] -= 1
            found.append(name)
        i += 1
    return found


class OpenLoopLoad:
    """An open loop: requests are sent at `rps` per second, whatever their results."""

    def __init__(self, url: str, rps: float, keep_alive: bool) -> None:
        """With `keep_alive` connections are reused, which is the harder test of a drain."""
        self._url, self._rps, self._keep_alive = url, rps, keep_alive
        self._users = cohort_users()
        self._task: asyncio.Task[None] | None = None
        self.results: list[ClientResult] = []
        self.sent = 0
        self.only_chat = False
        self._changed = asyncio.Condition()

    async def __aenter__(self) -> OpenLoopLoad:
        self._task = asyncio.create_task(self._run())
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._task is not None
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)

    async def wait_for_requests(self, count: int) -> None:
        """Wait until `count` more requests have been sent."""
        goal = self.sent + count
        await self._wait_until(lambda: self.sent >= goal)

    async def wait_until_settled(self) -> None:
        """Wait until every request sent so far has ended."""
        goal = self.sent
        await self._wait_until(lambda: sum(r.number < goal for r in self.results) >= goal)

    async def _wait_until(self, predicate: Callable[[], bool]) -> None:
        async with self._changed:
            await self._changed.wait_for(predicate)

    async def _notify(self) -> None:
        async with self._changed:
            self._changed.notify_all()

    async def _run(self) -> None:
        connector = aiohttp.TCPConnector(limit=0, force_close=not self._keep_alive)
        timeout = aiohttp.ClientTimeout(total=30)
        async with aiohttp.ClientSession(connector=connector, timeout=timeout) as http:
            begin, tasks = time.monotonic(), set()
            try:
                while True:
                    due = begin + self.sent / self._rps
                    await asyncio.sleep(max(0.0, due - time.monotonic()))
                    task = asyncio.create_task(self._send(http, self.sent))
                    tasks.add(task)
                    task.add_done_callback(tasks.discard)
                    self.sent += 1
                    await self._notify()
            finally:
                await asyncio.gather(*tasks, return_exceptions=True)

    async def _send(self, http: aiohttp.ClientSession, number: int) -> None:
        kind = ("chat", "stream", "chat", "related", "chips", "stream", "chat", "chat")[number % 8]
        kind = "chat" if self.only_chat and kind in ("related", "chips") else kind
        user = self._users[number * 7 % len(self._users)]
        result = ClientResult(number, user, time.monotonic(), kind == "stream")
        try:
            await self._call(http, kind, result)
        except Exception as error:
            result.error = f"{type(error).__name__}: {error}"[:200]
        result.duration_s = time.monotonic() - result.started_at_s
        self.results.append(result)
        await self._notify()

    async def _call(self, http: aiohttp.ClientSession, kind: str, result: ClientResult) -> None:
        if kind == "related":
            async with http.get(f"{self._url}/api/related?q=python&lang=en") as answer:
                rows = await answer.json()
                result.ok = answer.status == 200 and len(rows) > 0
        elif kind == "chips":
            async with http.post(f"{self._url}/api/chips", json={"lang": "ko"}) as answer:
                result.ok = answer.status == 200 and (await answer.json())["n"] > 0
        else:
            await self._chat(http, result)

    async def _chat(self, http: aiohttp.ClientSession, result: ClientResult) -> None:
        text = f"When is the last subway in Seoul? #{result.number}#"
        messages = [{"sender": "user", "text": text}]
        body: dict[str, Any] = {"conversationId": result.user, "messages": messages}
        if result.stream:
            body["stream"] = True
        async with http.post(f"{self._url}/api/chat", json=body) as answer:
            received = b""
            async for piece in answer.content.iter_any():
                received += piece
                result.has_started = result.has_started or b"event: token" in received
            if result.stream:
                result.ok = answer.status == 200 and b"event: done" in received
            else:
                result.ok = answer.status == 200 and json.loads(received)["ok"] is True
            if not result.ok:
                result.error = f"{answer.status} {received[-200:]!r}"
