"""The comparison of hamlet1 with hamlet: equal requests, a stand-in that does the work, correct results."""

import asyncio
import json
import os
import random
import re
from collections import Counter
from contextlib import asynccontextmanager

import httpx2
import pytest

from hamlet.config import loads
from hamlet.simulator import SimulatorServer
from loadtest.bench.versus import report
from loadtest.bench.versus.report import ArmResult
from loadtest.bench.versus.requests import KINDS, build_versus_schedule, request_factory
from loadtest.bench.versus.testbed import SETTINGS, render_config
from loadtest.bench.versus.world import ProductWorld
from loadtest.engine.open_loop import LoadTarget
from loadtest.engine.results import RunResult, Sample
from support.hamlet1 import SERVER, needs_node

ONE, OTHER = LoadTarget("hamlet1", "http://a", "", "m"), LoadTarget("hamlet2", "http://b", "", "m")


def test_every_side_gets_the_same_requests_and_the_seed_determines_them() -> None:
    planned = build_versus_schedule("full", 1)
    assert abs(len(planned) - 15_000) < 500
    first, again, other = request_factory(1), request_factory(1), request_factory(2)
    requests = [first(scheduled, ONE) for scheduled in planned[:2000]]
    for scheduled, request in zip(planned, requests, strict=False):
        for twin in (first(scheduled, OTHER), again(scheduled, ONE)):
            assert (twin.method, twin.path, twin.body) == (
                request.method,
                request.path,
                request.body,
            )
    assert [request.body for request in requests] != [
        other(scheduled, ONE).body for scheduled in planned[:2000]
    ]
    counts = Counter(request.kind for request in requests)
    assert all(abs(counts[kind] / 2000 - share) < 0.05 for kind, share in KINDS.items())


@pytest.mark.parametrize("setting", SETTINGS)
def test_every_setting_is_a_valid_configuration(setting, tmp_path) -> None:
    world = "http://127.0.0.1:9"
    loaded = loads(render_config(setting, world, "http://127.0.0.1:8", f"{world}/1"))
    assert len(loaded.config.suggest.sources) == 1 + setting.has_two_searches
    assert len(loaded.config.routes["chat"].deployments) == len(setting.accounts)
    assert (loaded.config.suggest.chips_fresh_s > 1) == setting.has_cache


@asynccontextmanager
async def run_node_server(world: str):
    env = {
        "UPSTREAM": f"{world}/one/v1",
        "WRITER": f"{world}/writer/v1",
        "SEARCH": f"{world}/0",
        "PORT": "0",
    }
    process = await asyncio.create_subprocess_exec(
        "node", str(SERVER), env={**os.environ, **env}, stdout=asyncio.subprocess.PIPE
    )
    try:
        assert process.stdout
        line = await asyncio.wait_for(process.stdout.readline(), 60)
        async with httpx2.AsyncClient(base_url=f"http://127.0.0.1:{int(line)}", timeout=60) as http:
            yield http
    finally:
        process.kill()
        await process.wait()


@needs_node
async def test_stand_in_gets_chips_from_the_model_and_links_from_the_search() -> None:
    async with SimulatorServer(ProductWorld(1)) as server, run_node_server(server.url) as http:
        chips, links, fixed = await asyncio.gather(
            http.post("/api/chips", json={"q": "서울 지하철", "lang": "ko"}),
            http.get("/api/related", params={"q": "서울 지하철", "lang": "ko"}),
            http.post("/api/chips", json={"lang": "ko"}),
        )
        written = chips.json()
        assert written["n"] == 4
        assert all(chip["prompt"].startswith("서울 지하철") for chip in written["chips"])
        assert [row["href"][:13] for row in links.json()] == [
            "https://site0",
            "https://site1",
            "https://site2",
        ]
        assert fixed.json()["chips"][0]["label"] == "더 자세히 알려줘"


def test_equal_searches_take_equally_long_on_every_side() -> None:
    product = ProductWorld(1)

    def wait_s(side: int, target: str) -> float:
        upcoming = product.respond("GET", f"/{side}{target}", b"").next_chunk
        assert upcoming is not None
        return upcoming.wait_s

    requests = ["/search?q=a", "/search?q=a", "/search?q=b", "/other/search?q=a"]
    one, other = ([wait_s(side, target) for target in requests] for side in (0, 1))
    assert one == other
    assert len(set(one)) == len(requests)


async def test_writer_streams_the_requested_number_of_chips() -> None:
    turns = [
        {"role": "user", "content": 'Write 3 suggestions <data kind="query">\n파리 여행\n</data>'}
    ]
    body = {"model": "writer", "stream": True, "messages": turns}
    async with SimulatorServer(ProductWorld(1)) as server, httpx2.AsyncClient(timeout=60) as http:
        answer = await http.post(f"{server.url}/writer/v1/chat/completions", json=body)
    events = [line[6:] for line in answer.text.splitlines() if line.startswith("data: ")]
    assert events.pop() == "[DONE]"
    chunks = [json.loads(event)["choices"] for event in events]
    text = "".join(row[0]["delta"].get("content", "") for row in chunks if row)
    assert [json.loads(line)["p"][:5] for line in text.splitlines()] == ["파리 여행"] * 3


def make_arm(name: str, factor: float, count: int = 200, outcome: str = "ok") -> ArmResult:
    rng = random.Random(name)
    samples = []
    for i in range(count):
        took, kind = rng.uniform(0.9, 1.1) * factor, list(KINDS)[i % len(KINDS)]
        samples.append(
            Sample(
                i,
                "target",
                i * 0.01,
                i * 0.01,
                i * 0.01 + took / 2,
                i * 0.01 + took,
                outcome,
                kind=kind,
            )
        )
    result = RunResult(
        "versus", "ci", 1, name, "m", "c", "now", 6.0, [(0.0, 100.0, 6.0)], samples, []
    )
    return ArmResult(name, result, {'hamlet_attempts_total{deployment="<x>"}': 3.0})


def test_goal_is_reached_only_with_the_whole_interval() -> None:
    first = make_arm("a", 1.0)
    assert make_arm("b", 0.7).goal_result(first, report.ALL, -0.2) == "reached"
    assert make_arm("b", 0.7).goal_result(first, "chips", -0.2) == "reached"
    assert make_arm("b", 0.95).goal_result(first, report.ALL, -0.2) == "missed"
    assert make_arm("b", 1.5).goal_result(first, report.ALL, -0.2) == "missed"


def test_page_is_self_contained_and_says_that_hamlet1_is_a_stand_in(tmp_path) -> None:
    arms = [
        make_arm("hamlet1 (stand-in)", 1.0, 60),
        make_arm("hamlet2, <no> cache", 0.7, 60),
        make_arm("hamlet2, cache", 0.5, 60),
    ]
    report.write_reports(arms, tmp_path, -0.2)
    text = (tmp_path / "report.html").read_text()
    assert not re.search(r"(src|href)=|<script|<link|@import|<no>|<x>", text)
    assert "is a stand-in" in text
    assert text.count("<svg") == len(report.GROUPS) + 1
    assert {file.name for file in tmp_path.iterdir()} == {
        "report.html", "hamlet1-stand-in.html", "hamlet2-no-cache.html", "hamlet2-cache.html",
        "compare-hamlet2-no-cache.html", "compare-hamlet2-cache.html",
    }  # fmt: skip
    assert "hamlet2, cache, against hamlet1" in report.render_text(arms, -0.2)
