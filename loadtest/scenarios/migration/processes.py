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

CANARY_STEPS_BP = (100, 500, 2000, 5000, 10_000)
_SENTENCES = (
    "The subway in Seoul runs until about midnight on Sundays, and the last trains are short.",
    "On Sundays the subway in Seoul runs until about midnight; the last trains end early.",
    "Until about midnight: on Sundays the last trains of the subway in Seoul are short.",
)
_TAG = re.compile(r"#(\d+)#")


class FakeVendor:
    """The model behind both services; tells them apart by the name they ask for."""

    def __init__(self) -> None:
        self.upstream = LoopbackUpstream()
        self.upstream.respond(self._respond)
        self.new_arm_fails = False
        self.new_arm_breaks_contract = False
        self.arms_by_request: dict[int, list[str]] = {}

    def arms_since(self, first: int) -> dict[int, list[str]]:
        """Who asked for each request from number `first` on: "new" and "legacy"."""
        return {number: arms for number, arms in self.arms_by_request.items() if number >= first}

    def _respond(self, request: Received) -> Canned:
        body = request.json
        arm = "legacy" if body["model"] == "vendor-model" else "new"
        tag = _TAG.search(json.dumps(body["messages"]))
        self.arms_by_request.setdefault(int(tag[1]) if tag else -1, []).append(arm)
        if arm == "new" and self.new_arm_fails:
            return json_reply({"error": {"message": "injected"}}, 500)
        finish = "content_filter" if arm == "new" and self.new_arm_breaks_contract else "stop"
        text = random.choice(_SENTENCES)
        usage = {"prompt_tokens": 20, "completion_tokens": 18, "total_tokens": 38}
        if not body.get("stream"):
            message = {"role": "assistant", "content": text}
            choice = {"index": 0, "message": message, "finish_reason": finish}
            return json_reply(_completion_object("chat.completion", [choice], usage=usage))
        words = re.findall(r"\S+\s*", text)
        deltas = [{"content": "".join(words[i : i + 3])} for i in range(0, len(words), 3)]
        frames = [_chunk_event([{"index": 0, "delta": d, "finish_reason": None}]) for d in deltas]
        frames.append(_chunk_event([{"index": 0, "delta": {}, "finish_reason": finish}]))
        frames.append(_chunk_event([], usage=usage))
        return sse_reply([*frames, b"data: [DONE]\n\n"], pause_s=0.3)


def _completion_object(kind: str, choices: list[Any], **more: Any) -> dict[str, Any]:
    return {"id": "c", "object": kind, "created": 1, "model": "m", "choices": choices, **more}


def _chunk_event(choices: list[Any], **more: Any) -> bytes:
    return (
        b"data: "
        + json.dumps(_completion_object("chat.completion.chunk", choices, **more)).encode()
        + b"\n\n"
    )


@dataclass
class RestartableProgram:
    """A process, and how it is started again."""

    command: Sequence[str]
    log: Path
    environment: Mapping[str, str] = field(default_factory=dict)
    process: asyncio.subprocess.Process | None = None

    async def start(self) -> None:
        with self.log.open("ab") as sink:
            self.process = await asyncio.create_subprocess_exec(
                *self.command, stdout=sink, stderr=sink, env={**os.environ, **self.environment}
            )

    async def stop(self, signal_number: signal.Signals = signal.SIGTERM) -> int:
        """Signal it and wait; its exit status."""
        if self.process is None or self.process.returncode is not None:
            return 0
        self.process.send_signal(signal_number)
        try:
            return await asyncio.wait_for(self.process.wait(), 40)
        except TimeoutError:
            self.process.kill()
            return await self.process.wait()


def find_program(name: str) -> str:
    """Where a program is; exits with status 2 if it is not."""
    places = os.pathsep.join((str(Path(sys.executable).parent), os.environ["PATH"], "/usr/sbin"))
    found = shutil.which(name, path=places)
    if found is None:
        print(f"{name} is not installed")
        sys.exit(2)
    return found


async def wait_until_ok(url: str, within_s: float = 30.0) -> None:
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
class ClientResult:
    """What a client saw of one request."""

    number: int
    user: str
    started_at_s: float
    stream: bool
    ok: bool = False
    has_started: bool = False
    duration_s: float = 0.0
    error: str = ""


def cohort_users() -> list[str]:
    """Forty users, some of whom belong to each step of the ladder: small shares get traffic too."""
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
    """Requests that leave on a schedule, whatever becomes of them (open loop)."""

    def __init__(self, url: str, rps: float, keep_alive: bool) -> None:
        """`keep`: connections are used again, which is the harder test of a drain."""
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
        """Wait until so many requests more have been sent."""
        goal = self.sent + count
        await self._wait_until(lambda: self.sent >= goal)

    async def wait_until_settled(self) -> None:
        """Wait until what was sent so far has ended."""
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
