"""The upstreams of both: three accounts of a model, a model that writes chips, and a web search.

    python -m loadtest.bench.versus.world [SEED]

Prints its base URL. /one, /two and /three are accounts with different latency, as regions have: `one`,
which hamlet1 uses, is the middle one. Under /writer a model writes chips. /N/search is the web search
of side N, and /N/other/search a second one with the same latency.
"""

from __future__ import annotations

import asyncio
import json
import math
import random
import sys
import time
from collections import Counter
from collections.abc import Iterator
from typing import Any
from urllib.parse import parse_qs, urlsplit

import uvloop

from hamlet.simulator import SimulatedDeployment, SimulatorServer, World
from hamlet.simulator.response_timeline import BodyChunk, ResponseTimeline, full_response
from hamlet.simulator.spec import PTU_LATENCY
from loadtest.engine.chip_model import chip_lines, completion_events, prompt_text

MODEL = "vendor-model"
# Factors of the latency of a reserved deployment (hamlet.simulator.spec.PTU_LATENCY).
LATENCY_FACTORS = {"one": 1.0, "two": 0.75, "three": 1.35}
_SEARCH_S, _SEARCH_SIGMA = 0.25, 0.5
_TOKENS_A_CHIP = 30


class ProductWorld(World):
    """The simulator's world with a model that writes chips and a web search."""

    def __init__(self, seed: int) -> None:
        accounts = [
            SimulatedDeployment(name, MODEL, wire="openai", latency=PTU_LATENCY.slowed_by(pace))
            for name, pace in LATENCY_FACTORS.items()
        ]
        super().__init__(accounts, seed=seed, clock=time.monotonic)
        self._seed = seed
        self._search_counts: Counter[tuple[str, str]] = Counter()
        self._rng = random.Random(f"{seed}:product")

    def respond(self, method: str, target: str, body: bytes) -> ResponseTimeline:
        """The response of an account, the writer or a search."""
        parts = urlsplit(target)
        if parts.path.endswith("/search"):
            words = parse_qs(parts.query).get("q", [""])[0]
            return full_response(
                200, search_results(words), wait_s=self._search_delay_s(parts.path, words)
            )
        if parts.path.startswith("/writer/"):
            return self._write_chips(json.loads(body))
        return super().respond(method, target, body)

    def _search_delay_s(self, path: str, words: str) -> float:
        """The latency of a search in seconds: the n-th search for these words takes the same on every side."""
        self._search_counts[path, words] += 1
        engine = path.split("/", 2)[2]
        rng = random.Random(f"{self._seed}:{engine}:{words}:{self._search_counts[path, words]}")
        return _SEARCH_S * math.exp(rng.gauss(0.0, _SEARCH_SIGMA))

    def _write_chips(self, body: dict[str, Any]) -> ResponseTimeline:
        prompt = prompt_text(body["messages"])
        lines, (ttft, gap) = chip_lines(prompt), PTU_LATENCY.sample(self._rng, len(prompt) // 4)
        chip_interval_s = gap * _TOKENS_A_CHIP
        if body.get("stream"):
            return ResponseTimeline(
                200, {"content-type": "text/event-stream"}, chip_steps(lines, ttft, chip_interval_s)
            )
        choice = {
            "index": 0,
            "finish_reason": "stop",
            "message": _assistant_message("".join(lines)),
        }
        whole = {"id": "c", "object": "chat.completion", "created": 1, "model": "writer"}
        return full_response(200, json.dumps({**whole, "choices": [choice], "usage": _usage(lines)}).encode(),
                     wait_s=ttft + chip_interval_s * len(lines))  # fmt: skip


def chip_steps(lines: list[str], ttft: float, gap: float) -> Iterator[BodyChunk]:
    """One event per chip."""
    *events, stop, usage, done = completion_events(lines, _usage(lines))
    for i, event in enumerate(events):
        yield BodyChunk(gap if i else ttft + gap, event, _TOKENS_A_CHIP)
    yield BodyChunk(0.0, stop + usage + done, 0)


def search_results(query: str) -> bytes:
    """A response of SearXNG: ten pages."""
    rows = [
        {
            "title": f"{query[:40]} 안내 {i}",
            "url": f"https://site{i}.example/{abs(hash(query)) % 1000}",
            "content": f"{query[:60]}에 대해 알아야 할 것과 자주 묻는 질문을 모았습니다",
        }
        for i in range(10)
    ]
    return json.dumps({"results": rows}).encode()


def _assistant_message(text: str) -> dict[str, str]:
    return {"role": "assistant", "content": text}


def _usage(lines: list[str]) -> dict[str, int]:
    out = len(lines) * _TOKENS_A_CHIP
    return {"prompt_tokens": 400, "completion_tokens": out, "total_tokens": 400 + out}


async def serve(seed: int) -> None:
    """Serve until interrupted."""
    async with SimulatorServer(ProductWorld(seed)) as server:
        print(server.url, flush=True)
        await asyncio.Event().wait()


if __name__ == "__main__":
    uvloop.run(serve(int(sys.argv[1]) if len(sys.argv) > 1 else 1))
