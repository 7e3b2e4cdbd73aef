"""Requests of hamlet1's API, the same bytes to every side."""

from __future__ import annotations

import functools
import itertools
import json
import math
import random
from collections.abc import Callable
from pathlib import Path
from urllib.parse import quote

from hamlet.simulator import marker
from hamlet.spi import Frame
from hamlet.suggest.content import shipped_chips
from loadtest.engine.open_loop import EventKind, LoadTarget, RequestFactory, RequestSpec
from loadtest.engine.scenario import LoadStep, Scenario, Size
from loadtest.engine.schedule import ScheduledRequest, build_schedule

RATE = 12.5
SCENARIO = Scenario(
    name="versus",
    about="750 requests a minute to the endpoints of hamlet1",
    ci=(LoadStep(rate=RATE, seconds=20),),
    full=(LoadStep(rate=RATE, seconds=1200),),
    checks=(),
)
# Shares of the requests.
KINDS = {"chat": 0.3, "chat, streamed": 0.3, "related": 0.2, "chips": 0.2}
_QUERIES, _MEDIAN_TOKENS, _SIGMA = 2000, 80, 0.6


def build_versus_schedule(size: Size, seed: int) -> list[ScheduledRequest]:
    """The schedule: 15,000 requests within 20 minutes in full size."""
    return build_schedule(SCENARIO, size, seed, Path())


def request_factory(seed: int) -> RequestFactory:
    """A factory of requests that are the same for a seed and for every side."""
    queries = _queries(seed)
    sums = list(itertools.accumulate(1 / rank for rank in range(1, len(queries) + 1)))

    @functools.lru_cache(16)
    def request_for(number: int) -> RequestSpec:
        rng = random.Random(f"versus:{seed}:{number}")
        kind = rng.choices(list(KINDS), list(KINDS.values()))[0]
        query = rng.choices(queries, cum_weights=sums)[0]
        tokens = round(_MEDIAN_TOKENS * math.exp(rng.gauss(0.0, _SIGMA)))
        return _REQUEST_BUILDERS[kind](query, max(8, min(tokens, 400)))

    def make_request(scheduled: ScheduledRequest, side: LoadTarget) -> RequestSpec:
        return request_for(scheduled.number)

    return make_request


def _queries(seed: int) -> list[str]:
    """Queries of the tags of the embedded chips; their frequency follows Zipf's law."""
    rng = random.Random(f"versus:{seed}")
    tags = [text for row in shipped_chips() for text in row.tags.values() if text]
    found: dict[str, None] = {}
    while len(found) < _QUERIES:
        some = rng.choice(tags).split()
        found[" ".join(rng.sample(some, min(len(some), rng.randint(2, 4))))] = None
    return list(found)


def _chat(query: str, tokens: int, stream: bool) -> RequestSpec:
    turns = [{"sender": "user", "text": f"{query} {marker(300, tokens)}"}]
    if not stream:
        return _post_request(
            "chat", "/api/chat", {"messages": turns}, is_valid_response=lambda b: b'"ok":true' in b
        )
    return _post_request(
        "chat, streamed", "/api/chat", {"messages": turns, "stream": True}, _classify_event
    )


def _related(query: str, _: int) -> RequestSpec:
    path = f"/api/related?lang=ko&q={quote(query)}"
    return RequestSpec(
        "GET", path, is_valid_response=lambda body: len(json.loads(body)) > 0, kind="related"
    )


def _chips(query: str, _: int) -> RequestSpec:
    fields = {"q": query, "lang": "ko"}
    return _post_request(
        "chips", "/api/chips", fields, is_valid_response=lambda body: json.loads(body)["n"] > 0
    )


_REQUEST_BUILDERS: dict[str, Callable[[str, int], RequestSpec]] = {
    "chat": functools.partial(_chat, stream=False),
    "chat, streamed": functools.partial(_chat, stream=True),
    "related": _related,
    "chips": _chips,
}


def _post_request(
    kind: str,
    path: str,
    fields: object,
    classify_event: Callable[[Frame], EventKind] | None = None,
    is_valid_response: Callable[[bytes], bool] = bool,
) -> RequestSpec:
    body = json.dumps(fields, ensure_ascii=False).encode()
    return RequestSpec("POST", path, body, classify_event, is_valid_response, kind)


def _classify_event(frame: Frame) -> EventKind:
    """The meaning of hamlet1's stream events."""
    meaning: dict[str, EventKind] = {"token": "content", "done": "end", "error": "error"}
    return meaning.get(frame.event, "")
