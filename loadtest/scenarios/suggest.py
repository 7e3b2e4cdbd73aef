"""The main screen under load.

    python -m loadtest.scenarios.suggest [rows | down | zipf | burst]      all of them if none is named

rows   an open loop of 12.5 requests per second with bursts of three times that: latency of responses
       from the cache, from the embedded tier, and from the embedded tier with vectors
down   10,000 requests while model and web search hang, reset, send garbage, or reject with 429
zipf   20,000 requests over 10,000 queries drawn by Zipf's law (s = 1) with a model: share of responses
       from the cache, and model calls per request
burst  100 identical requests at once: calls of the upstreams

Prints percentiles of the clients' latency; exits with 1 if one of the limits in this file is exceeded.
"""

from __future__ import annotations

import asyncio
import itertools
import random
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import aiohttp

from hamlet.suggest.content import shipped_chips
from hamlet.testing import Canned, LoopbackUpstream, json_reply, sse_reply
from hamlet.testing.loopback import Received
from loadtest.engine.chip_model import chip_lines, completion_events, prompt_text
from loadtest.engine.quantiles import quantile
from loadtest.engine.server_process import config_file, run_server_process
from loadtest.engine.waiting import wait_until, wait_until_ok

BUDGET_MS = 200
BANK_CONFIG = """
providers: {{embedded: {{kind: embedded}}}}
routes: {{hamlet: {{deployments: [{{provider: embedded, model: embedded-chat}}]}}}}
suggest: {{embed: {embed}}}
telemetry: {{log_level: error}}
"""
MODEL_CONFIG = """
providers: {{model: {{kind: openai, base_url: "{model}"}}}}
routes: {{chips: {{deployments: [{{provider: model, model: gpt-4o-mini}}], policy: {{attempts: 1}}}}}}
suggest: {{chip_route: chips, sources: {{web: {{kind: searxng, base_url: "{web}"}}}}}}
telemetry: {{log_level: error}}
"""


@dataclass
class SuggestResults:
    """Latencies (milliseconds) and tiers of the responses of one run."""

    waits_ms: list[float] = field(default_factory=list)
    late: int = 0
    empty: int = 0
    failed: int = 0
    tiers: Counter[str] = field(default_factory=Counter)
    link_tiers: Counter[str] = field(default_factory=Counter)

    def record(self, wait_ms: float, status: int, body: dict[str, Any], budget_ms: int) -> None:
        """Count one response."""
        self.waits_ms.append(wait_ms)
        if status != 200:
            self.failed += 1
            return
        self.late += body["timing"]["total_ms"] > budget_ms + 20
        self.empty += not (body["chips"]["items"] and body["links"]["items"])
        self.tiers[body["chips"]["tier"]] += 1
        self.link_tiers[body["links"]["tier"]] += 1

    def percentile_ms(self, share: float) -> float:
        """A quantile of the latencies; `share` is between 0 and 1."""
        return quantile(self.waits_ms, share) or 0.0

    def summary(self, name: str) -> str:
        """One line of text."""
        return (
            f"{name:22} {len(self.waits_ms)} requests: p50 {self.percentile_ms(0.5):.1f} ms, p99 {self.percentile_ms(0.99):.1f} ms, "
            f"max {max(self.waits_ms):.1f} ms, over budget + 20 ms {self.late}, empty {self.empty}, "
            f"not 200 {self.failed}, chips from {dict(self.tiers)}"
        )


@asynccontextmanager
async def run_hamlet(config: str) -> AsyncIterator[tuple[str, aiohttp.ClientSession]]:
    """A ready hamlet in a process of its own: its URL, and a client."""
    # A shorter time than the server's, so that no connection is closed while a request is sent.
    connector = aiohttp.TCPConnector(limit=0, keepalive_timeout=2)
    with config_file(config) as file:
        async with (
            run_server_process(file) as server,
            aiohttp.ClientSession(connector=connector) as http,
        ):
            await wait_until_ok(f"{server.url}/readyz")
            yield server.url, http


async def send_request(
    http: aiohttp.ClientSession,
    url: str,
    results: SuggestResults,
    query: str,
    budget_ms: int = BUDGET_MS,
) -> None:
    """Send one request and record its response."""
    body: dict[str, Any] = {"context": {"query": query}, "budget_ms": budget_ms}
    start = time.perf_counter()
    async with http.post(f"{url}/v1/suggest", json=body) as response:
        shown_body = await response.json()
    results.record((time.perf_counter() - start) * 1000, response.status, shown_body, budget_ms)


async def send_at_times(
    times: Iterator[float],
    next_query: Callable[[], str],
    http: aiohttp.ClientSession,
    url: str,
    results: SuggestResults,
) -> None:
    """An open loop: requests are sent at `times` (seconds), whatever the responses."""
    begin = time.perf_counter()
    async with asyncio.TaskGroup() as group:
        for at in times:
            await asyncio.sleep(max(0.0, begin + at - time.perf_counter()))
            group.create_task(send_request(http, url, results, next_query()))


def bursty_arrivals(seconds: float, per_second: float = 12.5) -> Iterator[float]:
    """The times of requests, in seconds; every tenth second has three times as many."""
    for second in range(int(seconds)):
        count = per_second * (3 if second % 10 == 9 else 1)
        yield from (second + i / count for i in range(int(count)))


def query_generator(seed: int) -> Callable[[], str]:
    """Makes queries of the tags of the embedded chips."""
    rng = random.Random(seed)
    tags = [text for row in shipped_chips() for text in row.tags.values() if text]

    def one() -> str:
        words = rng.choice(tags).split()
        return " ".join(rng.sample(words, min(len(words), 3)))

    return one


async def run_cache_and_bank() -> bool:
    """The embedded tier, the same with vectors, and cache hits."""
    good = True
    for name, embed, limit in (("embedded lexical", False, 15), ("embedded dense", True, 120)):
        async with run_hamlet(BANK_CONFIG.format(embed=str(embed).lower())) as (url, http):
            if embed:
                await wait_for_vectors(http, url)
            row = SuggestResults()
            await send_at_times(bursty_arrivals(60), query_generator(7), http, url, row)
            print(row.summary(name), flush=True)
            good &= row.percentile_ms(0.99) <= limit and not (row.late or row.empty or row.failed)
    async with LoopbackUpstream() as model, LoopbackUpstream() as web:
        model.respond(chip_response)
        web.reply(search_response())
        async with run_hamlet(MODEL_CONFIG.format(model=model.url, web=web.url)) as (url, http):
            few = [query_generator(3)() for _ in range(20)]
            for query in few:
                await send_request(http, url, SuggestResults(), query, 2000)
            row = SuggestResults()
            rng = random.Random(5)
            await send_at_times(bursty_arrivals(60), lambda: rng.choice(few), http, url, row)
            print(row.summary("cache hit"), dict(row.link_tiers), flush=True)
            good &= row.percentile_ms(0.99) <= 10 and not (row.late or row.empty or row.failed)
    return good


async def wait_for_vectors(http: aiohttp.ClientSession, url: str) -> None:
    """Wait until a query finds links that have its meaning but none of its words."""
    body = {"context": {"query": "intelligence artificielle"}, "locale": {"lang": "en"}}

    async def has_vectors() -> bool:
        async with http.post(f"{url}/v1/suggest", json=body) as response:
            return bool((await response.json())["links"]["tier"] == "embedded")

    await wait_until(has_vectors, interval_s=0.1)


def chip_response(request: Received) -> Canned:
    """A model's streamed chips about the query."""
    text = "".join(chip_lines(prompt_text(request.json["messages"])))
    return sse_reply(list(completion_events([text])), pause_s=0.05)


def search_response() -> Canned:
    """A response of SearXNG."""
    rows = [
        {
            "title": f"{word} 안내 {i}",
            "url": f"https://site{i}.example/{i}?utm_source=x",
            "content": f"{word}에 대해 알아야 할 것과 자주 묻는 질문을 모았습니다",
        }
        for i, word in enumerate(("지하철", "여행", "세금", "건강", "날씨") * 4)
    ]
    return json_reply({"results": rows})


async def run_upstreams_down() -> bool:
    """Ten thousand requests while every upstream fails."""
    garbage = Canned(pieces=(b"\x00<html>", b"}{"))
    failures = {
        "hang": Canned(before="hang"),
        "reset": Canned(before="reset"),
        "garbage": garbage,
        "429": json_reply({"error": {"message": "x"}}, 429, {"retry-after": "1"}),
    }
    good = True
    total = SuggestResults()
    for name, reply in failures.items():
        async with LoopbackUpstream() as model, LoopbackUpstream() as web:
            model.reply(reply)
            web.reply(reply)
            async with run_hamlet(MODEL_CONFIG.format(model=model.url, web=web.url)) as (url, http):
                row = SuggestResults()
                times = (i / 37.5 for i in range(2500))
                await send_at_times(times, query_generator(11), http, url, row)
                print(row.summary(f"down: {name}"), flush=True)
                total.late += row.late
                total.waits_ms += row.waits_ms
                good &= not (row.empty or row.failed)
    print(f"{'down: all':22} over budget + 20 ms: {total.late} of {len(total.waits_ms)}")
    return good and total.late <= len(total.waits_ms) / 1000


async def run_zipf() -> bool:
    """The share of responses from the cache if few queries are frequent."""
    rng = random.Random(1)
    weights = list(itertools.accumulate(1 / rank for rank in range(1, 10_001)))
    async with LoopbackUpstream() as model, LoopbackUpstream() as web:
        model.respond(chip_response)
        web.reply(search_response())
        async with run_hamlet(MODEL_CONFIG.format(model=model.url, web=web.url)) as (url, http):
            row = SuggestResults()
            slots = asyncio.Semaphore(8)

            async def one() -> None:
                rank = rng.choices(range(10_000), cum_weights=weights)[0]
                async with slots:
                    await send_request(http, url, row, f"지하철 여행 세금 건강 {rank}번", 1000)

            await asyncio.gather(*(one() for _ in range(20_000)))
        calls = len(model.requests)
    requests = len(row.waits_ms)
    share, links, each = (
        row.tiers["cache"] / requests,
        row.link_tiers["cache"] / requests,
        calls / requests,
    )
    print(row.summary("zipf"))
    print(
        f"{'zipf':22} from the cache: chips {share:.3f}, links {links:.3f} (>= 0.60), "
        f"model calls a request {each:.3f} (<= 0.40)"
    )
    return share >= 0.6 and links >= 0.6 and each <= 0.4


async def run_burst() -> bool:
    """A hundred identical requests at once."""
    async with LoopbackUpstream() as model, LoopbackUpstream() as web:
        model.respond(chip_response)
        web.reply(search_response())
        async with run_hamlet(MODEL_CONFIG.format(model=model.url, web=web.url)) as (url, http):
            row = SuggestResults()
            await asyncio.gather(
                *(send_request(http, url, row, "서울 지하철 막차", 2000) for _ in range(100))
            )
        calls = (len(model.requests), len(web.requests))
        print(row.summary("burst"), f"model calls {calls[0]}, web calls {calls[1]}")
        return calls == (1, 1)


RUNS = {
    "rows": run_cache_and_bank,
    "down": run_upstreams_down,
    "zipf": run_zipf,
    "burst": run_burst,
}


async def main(names: list[str]) -> bool:
    """The named runs, or all."""
    return all([await RUNS[name]() for name in names or RUNS])


if __name__ == "__main__":
    sys.exit(not asyncio.run(main(sys.argv[1:])))
