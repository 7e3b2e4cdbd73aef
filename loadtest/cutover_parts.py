"""The processes of the cutover's end-to-end run, the vendor behind them, and the load in front."""

from __future__ import annotations

import asyncio
import json
import os
import random
import re
import shutil
import signal
import sys
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp

from hamlet.migration.cohort import Cohort
from hamlet.testing import Canned, LoopbackUpstream, Received, json_reply, sse_reply

ROOT = Path(__file__).parents[1]
SHARES = (100, 500, 2000, 5000, 10_000)
_SENTENCES = (
    "The subway in Seoul runs until about midnight on Sundays, and the last trains are short.",
    "On Sundays the subway in Seoul runs until about midnight; the last trains end early.",
    "Until about midnight: on Sundays the last trains of the subway in Seoul are short.",
)
_TAG = re.compile(r"#(\d+)#")


class Vendor:
    """The model behind both services; tells them apart by the name they ask for."""

    def __init__(self) -> None:
        self.upstream = LoopbackUpstream()
        self.upstream.respond(self._respond)
        self.new_fails = False
        self.new_breaks_contract = False
        self.seen: dict[int, list[str]] = {}

    def arms(self, first: int) -> dict[int, list[str]]:
        """Who asked for each request from number `first` on: "new" and "legacy"."""
        return {number: arms for number, arms in self.seen.items() if number >= first}

    def _respond(self, request: Received) -> Canned:
        body = request.json
        arm = "legacy" if body["model"] == "vendor-model" else "new"
        tag = _TAG.search(json.dumps(body["messages"]))
        self.seen.setdefault(int(tag[1]) if tag else -1, []).append(arm)
        if arm == "new" and self.new_fails:
            return json_reply({"error": {"message": "injected"}}, 500)
        finish = "content_filter" if arm == "new" and self.new_breaks_contract else "stop"
        text = random.choice(_SENTENCES)
        usage = {"prompt_tokens": 20, "completion_tokens": 18, "total_tokens": 38}
        if not body.get("stream"):
            message = {"role": "assistant", "content": text}
            choice = {"index": 0, "message": message, "finish_reason": finish}
            return json_reply(_object("chat.completion", [choice], usage=usage))
        words = re.findall(r"\S+\s*", text)
        deltas = [{"content": "".join(words[i : i + 3])} for i in range(0, len(words), 3)]
        frames = [_frame([{"index": 0, "delta": d, "finish_reason": None}]) for d in deltas]
        frames.append(_frame([{"index": 0, "delta": {}, "finish_reason": finish}]))
        frames.append(_frame([], usage=usage))
        return sse_reply([*frames, b"data: [DONE]\n\n"], pause_s=0.3)


def _object(kind: str, choices: list[Any], **more: Any) -> dict[str, Any]:
    return {"id": "c", "object": kind, "created": 1, "model": "m", "choices": choices, **more}


def _frame(choices: list[Any], **more: Any) -> bytes:
    return (
        b"data: " + json.dumps(_object("chat.completion.chunk", choices, **more)).encode() + b"\n\n"
    )


@dataclass
class Program:
    """A process, and how it is started again."""

    words: Sequence[str]
    log: Path
    environment: Mapping[str, str] = field(default_factory=dict)
    process: asyncio.subprocess.Process | None = None

    async def start(self) -> None:
        with self.log.open("ab") as sink:
            self.process = await asyncio.create_subprocess_exec(
                *self.words, stdout=sink, stderr=sink, env={**os.environ, **self.environment}
            )

    async def stop(self, number: signal.Signals = signal.SIGTERM) -> int:
        """Signal it and wait; its exit status."""
        if self.process is None or self.process.returncode is not None:
            return 0
        self.process.send_signal(number)
        try:
            return await asyncio.wait_for(self.process.wait(), 40)
        except TimeoutError:
            self.process.kill()
            return await self.process.wait()


def program(name: str) -> str:
    """Where a program is; exits with status 2 if it is not."""
    places = os.pathsep.join((str(Path(sys.executable).parent), os.environ["PATH"], "/usr/sbin"))
    found = shutil.which(name, path=places)
    if found is None:
        print(f"{name} is not installed")
        sys.exit(2)
    return found


async def answers(url: str, within_s: float = 30.0) -> None:
    """Wait until an address answers 200."""
    async with asyncio.timeout(within_s), aiohttp.ClientSession() as http:
        while True:
            try:
                async with http.get(url) as response:
                    if response.status == 200:
                        return
            except aiohttp.ClientError:
                pass
            await asyncio.sleep(0.05)


@dataclass
class Result:
    """What a client saw of one request."""

    number: int
    user: str
    at: float
    stream: bool
    ok: bool = False
    begun: bool = False
    seconds: float = 0.0
    why: str = ""


def users() -> list[str]:
    """Forty users, some of whom belong to each step of the ladder: small shares get traffic too."""
    wanted, found, i = Counter(dict(zip(SHARES, (2, 3, 8, 12, 15), strict=True))), [], 0
    while wanted.total():
        name = f"user-{i}"
        place = next(share for share in SHARES if Cohort("hamlet", "chat").bucket(name) < share)
        if wanted[place]:
            wanted[place] -= 1
            found.append(name)
        i += 1
    return found


class Load:
    """Requests that leave on a schedule, whatever becomes of them (open loop)."""

    def __init__(self, url: str, rps: float, keep: bool) -> None:
        """`keep`: connections are used again, which is the harder test of a drain."""
        self._url, self._rps, self._keep = url, rps, keep
        self._users = users()
        self._task: asyncio.Task[None] | None = None
        self.results: list[Result] = []
        self.sent = 0
        self.only_chat = False
        self._moved = asyncio.Condition()

    async def __aenter__(self) -> Load:
        self._task = asyncio.create_task(self._run())
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._task is not None
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)

    async def until(self, count: int) -> None:
        """Wait until so many requests more have been sent."""
        goal = self.sent + count
        await self._when(lambda: self.sent >= goal)

    async def settled(self) -> None:
        """Wait until what was sent so far has ended."""
        goal = self.sent
        await self._when(lambda: sum(r.number < goal for r in self.results) >= goal)

    async def _when(self, holds: Callable[[], bool]) -> None:
        async with self._moved:
            await self._moved.wait_for(holds)

    async def _tell(self) -> None:
        async with self._moved:
            self._moved.notify_all()

    async def _run(self) -> None:
        connector = aiohttp.TCPConnector(limit=0, force_close=not self._keep)
        timeout = aiohttp.ClientTimeout(total=30)
        async with aiohttp.ClientSession(connector=connector, timeout=timeout) as http:
            begin, tasks = time.monotonic(), set()
            try:
                while True:
                    due = begin + self.sent / self._rps
                    await asyncio.sleep(max(0.0, due - time.monotonic()))
                    task = asyncio.create_task(self._one(http, self.sent))
                    tasks.add(task)
                    task.add_done_callback(tasks.discard)
                    self.sent += 1
                    await self._tell()
            finally:
                await asyncio.gather(*tasks, return_exceptions=True)

    async def _one(self, http: aiohttp.ClientSession, number: int) -> None:
        kind = ("chat", "stream", "chat", "related", "chips", "stream", "chat", "chat")[number % 8]
        kind = "chat" if self.only_chat and kind in ("related", "chips") else kind
        user = self._users[number * 7 % len(self._users)]
        result = Result(number, user, time.monotonic(), kind == "stream")
        try:
            await self._call(http, kind, result)
        except Exception as error:
            result.why = f"{type(error).__name__}: {error}"[:200]
        result.seconds = time.monotonic() - result.at
        self.results.append(result)
        await self._tell()

    async def _call(self, http: aiohttp.ClientSession, kind: str, result: Result) -> None:
        if kind == "related":
            async with http.get(f"{self._url}/api/related?q=python&lang=en") as answer:
                rows = await answer.json()
                result.ok = answer.status == 200 and len(rows) > 0
        elif kind == "chips":
            async with http.post(f"{self._url}/api/chips", json={"lang": "ko"}) as answer:
                result.ok = answer.status == 200 and (await answer.json())["n"] > 0
        else:
            await self._chat(http, result)

    async def _chat(self, http: aiohttp.ClientSession, result: Result) -> None:
        text = f"When is the last subway in Seoul? #{result.number}#"
        said = [{"sender": "user", "text": text}]
        body: dict[str, Any] = {"conversationId": result.user, "messages": said}
        if result.stream:
            body["stream"] = True
        async with http.post(f"{self._url}/api/chat", json=body) as answer:
            told = b""
            async for piece in answer.content.iter_any():
                told += piece
                result.begun = result.begun or b"event: token" in told
            if result.stream:
                result.ok = answer.status == 200 and b"event: done" in told
            else:
                result.ok = answer.status == 200 and json.loads(told)["ok"] is True
            if not result.ok:
                result.why = f"{answer.status} {told[-200:]!r}"
