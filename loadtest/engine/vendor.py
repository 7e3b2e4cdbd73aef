"""Fake vendors that speak OpenAI's API: canned responses, in this process or in one of their own."""

from __future__ import annotations

import asyncio
import json
import multiprocessing
import multiprocessing.connection
import random
import re
import resource
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from hamlet.testing import Canned, LoopbackUpstream, Received, json_reply, sse_reply

CHUNK = b'data: {"id":"c","object":"chat.completion.chunk","created":1,"model":"m","choices":[{"index":0,"delta":{"content":"token "},"finish_reason":null}]}\n\n'
LAST_CHUNK = b'data: {"id":"c","object":"chat.completion.chunk","created":1,"model":"m","choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}\n\ndata: [DONE]\n\n'
_SENTENCES = (
    "The subway in Seoul runs until about midnight on Sundays, and the last trains are short.",
    "On Sundays the subway in Seoul runs until about midnight; the last trains end early.",
    "Until about midnight: on Sundays the last trains of the subway in Seoul are short.",
)
_TAG = re.compile(r"#(\d+)#")


def raise_file_limit() -> None:
    """Allow this process as many open files as the system permits."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


@contextmanager
def run_vendor_process(respond: Callable[[Received], Canned]) -> Iterator[str]:
    """A vendor in a process of its own that responds by `respond`; its URL."""
    ours, theirs = multiprocessing.Pipe()
    process = multiprocessing.Process(target=_run_vendor, args=(theirs, respond), daemon=True)
    process.start()
    try:
        yield ours.recv()
    finally:
        process.terminate()
        process.join()


def _run_vendor(
    pipe: multiprocessing.connection.Connection, respond: Callable[[Received], Canned]
) -> None:
    raise_file_limit()

    async def serve() -> None:
        async with LoopbackUpstream() as upstream:
            upstream.respond(respond)
            pipe.send(upstream.url)
            await asyncio.Event().wait()

    asyncio.run(serve())


class FakeVendor:
    """The model behind hamlet1 and hamlet, told apart by the model name.

    A message may carry its request's number as `#17#`; `arms_by_request` then lists the arms that
    called the vendor for it.
    """

    def __init__(self) -> None:
        self.upstream = LoopbackUpstream()
        self.upstream.respond(self._respond)
        self.new_arm_fails = False
        self.new_arm_breaks_contract = False
        self.arms_by_request: dict[int, list[str]] = {}

    def arms_since(self, first: int) -> dict[int, list[str]]:
        """The arms, "new" or "legacy", that called for each request from number `first` on."""
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
    completion = _completion_object("chat.completion.chunk", choices, **more)
    return b"data: " + json.dumps(completion).encode() + b"\n\n"
