"""The comparison with other gateways: quiet rounds count, streams are counted, reports are complete."""

import asyncio
import json
import re
import signal
import subprocess
import sys
from pathlib import Path

import httpx2
import pytest

from loadtest.bench.gateways import ANSWER, HAMLET, hamlet_pass_through, nginx_static
from loadtest.bench.peers.added_latency import AddedLatency
from loadtest.bench.peers.loop_blocking import LoopBlocking
from loadtest.bench.peers.report import Findings, bar_chart, write_report
from loadtest.bench.peers.streaming import StreamClient, StreamingResult, StreamingUpstream
from loadtest.bench.rounds import Noise, Round, select_quiet, summarize_rounds, write_wrk_script
from loadtest.bench.stand import BODY, contender_specs
from loadtest.engine.processes import Process, free_port, wait_until_ready

needs_nginx = pytest.mark.external("nginx")


def make_round(us: float, others: float = 0.1, steal: float = 0.0, opened: int = 1) -> Round:
    return Round(1000, 0, us / 1000, opened, Noise(1.0, steal, others))


def test_noisy_rounds_do_not_count_if_there_are_quiet_ones() -> None:
    rounds = [
        make_round(100),
        make_round(900, others=1.5),
        make_round(110),
        make_round(120),
        make_round(800, steal=0.2),
    ]
    assert [r.cpu_us for r in select_quiet(rounds)] == pytest.approx([100, 110, 120])
    found = summarize_rounds("x", rounds, 1.0, 2.0, 3.0, secure=False, of_ours=False)
    assert (found.us, found.us_min, found.kept, found.rounds) == (
        pytest.approx(110),
        pytest.approx(100),
        3,
        5,
    )
    assert found.opened_per_10k == pytest.approx(10)


def test_quietest_rounds_count_when_all_are_noisy() -> None:
    rounds = [make_round(us, others=us / 100) for us in (500, 100, 400, 200, 300)]
    assert [r.cpu_us for r in select_quiet(rounds)] == pytest.approx([100, 200, 300])
    assert summarize_rounds("x", rounds, 1, 2, 3, secure=True, of_ours=False).kept == 0
    assert summarize_rounds("x", rounds, 1, 2, 3, secure=True, of_ours=False).opened_per_10k is None


def test_report_has_tables_and_plots(tmp_path) -> None:
    rows = [summarize_rounds(n, [make_round(us)], 1, 2, 3, secure=False, of_ours=o) for n, us, o in
            (("hamlet", 200, False), ("<b>", 400, False), ("hamlet, other", 300, True))]  # fmt: skip
    found = Findings(
        rows,
        [AddedLatency("hamlet", 12.5, 100, 0, 1.5, 4.0, 1.0, 3.0, 1, 1)],
        [StreamingResult("hamlet", 500, 5000.0, 80.0, 20.0, 1, 1), StreamingResult("none", 0, 0.0, float("nan"), 0.0, 1, 1)],
        [LoopBlocking(1_000_000, 10, 4.0, 5.0, 6.0)],
        ["litellm"],
    )  # fmt: skip
    text = write_report(found, tmp_path)
    assert "| <b> | 400.0 (400.0) | 2.00x |" in text
    assert "| hamlet, other | 300.0 (300.0) | 1.50x |" in text
    assert "| none | - | - |" in text
    assert "not responding: litellm" in text
    assert json.loads((tmp_path / "result.json").read_text())["loop_blocking"][0]["p50_ms"] == 4.0
    assert "&lt;b&gt;" in (tmp_path / "plot.svg").read_text()
    assert "unmeasured" not in bar_chart("x", {"a": 1.0, "unmeasured": float("nan")})


async def test_chunks_are_sent_and_counted_until_the_client_disconnects() -> None:
    groups = [set(), set()]
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: StreamingUpstream(groups), "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    body = b'{"stream": true}'
    request = b"POST / HTTP/1.1\r\ncontent-length: %d\r\n\r\n%s" % (len(body), body)
    try:
        listeners = [
            (await loop.create_connection(lambda: StreamClient(request), "127.0.0.1", port))[1]
            for _ in range(4)
        ]
        async with asyncio.timeout(60):
            while sum(map(len, groups)) < 4:
                await asyncio.sleep(0.01)
            assert [len(group) for group in groups] == [2, 2]
            for transport in groups[0]:
                transport.write(b'data: {"content": "x"}\n\n' * 3)
            while sum(listener.chunks for listener in listeners) < 6:
                await asyncio.sleep(0.01)
            for listener in listeners:
                listener.transport.abort()
            while any(groups):
                await asyncio.sleep(0.01)
        async with httpx2.AsyncClient(base_url=f"http://127.0.0.1:{port}") as http:
            assert (await http.post("/", json={"stream": False})).json() == ANSWER
    finally:
        server.close()
        await server.wait_closed()


@needs_nginx
def test_upstream_responds_to_every_api(tmp_path) -> None:
    port = free_port()
    process = Process(nginx_static(port, tmp_path).command, log=tmp_path / "log")
    url = f"http://127.0.0.1:{port}"
    try:
        wait_until_ready(f"{url}/", process, 60)
        with httpx2.Client(base_url=url) as http:
            assert http.post("/v1/chat/completions", json={}).json() == ANSWER
            assert http.post("/v1/messages", json={}).json()["type"] == "message"
            assert len(http.get("/search").json()["results"]) == 10
            streamed = http.post("/chips/v1/chat/completions", json={})
            assert re.search(r"requests\s+\d+ ", http.get("/accepts").text)
        assert streamed.headers["content-type"] == "text/event-stream"
        first, *_ = (line for line in streamed.text.splitlines() if line)
        content = json.loads(first.removeprefix("data: "))["choices"][0]["delta"]["content"]
        assert [set(json.loads(line)) for line in content.splitlines()] == [{"t", "p", "k"}] * 8
        assert streamed.text.rstrip().endswith("data: [DONE]")
    finally:
        process.stop()


@needs_nginx
def test_pass_through_forwards_call_and_response(tmp_path) -> None:
    upstream, port = free_port(), free_port()
    static = nginx_static(upstream, tmp_path)
    launch = hamlet_pass_through(port, f"http://127.0.0.1:{upstream}", tmp_path, tmp_path)
    processes = [Process(each.command, log=tmp_path / "log") for each in (static, launch)]
    try:
        wait_until_ready(f"http://127.0.0.1:{upstream}/", processes[0], 60)
        url = f"http://127.0.0.1:{port}/v1/chat/completions"
        wait_until_ready(url, processes[1], 60, BODY)
        assert httpx2.post(url, content=BODY).json() == ANSWER
    finally:
        for process in processes:
            process.stop()


def test_hamlet_variants_get_their_own_requests(tmp_path) -> None:
    entries = contender_specs(tmp_path / "cert.pem")
    assert next(iter(entries)) == "hamlet"
    assert [name for name, entry in entries.items() if entry.is_comparable_plain] == [
        "hamlet", "nginx", "envoy", "sglang-router", "portkey", "litellm",
    ]  # fmt: skip
    assert len(entries["hamlet, suggest embedded"].bodies) == 40
    lua = write_wrk_script(tmp_path, [b'{"a": "1"}', b'{"a": "2"}'], {"x-more": "y"}).read_text()
    assert lua.count('\\"a\\"') == 2
    assert "{kind: {kind}" in HAMLET


RUN = """
import sys, time
from pathlib import Path
from loadtest.engine.processes import Process
child = Process(["sleep", "600"], log=Path(sys.argv[1]))
try:
    print(child.pid, flush=True)
    time.sleep(600)
finally:
    child.stop()
"""


def test_killed_run_stops_its_processes(tmp_path) -> None:
    command = [sys.executable, "-c", RUN, str(tmp_path / "log")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as run:
        assert run.stdout
        child = int(run.stdout.readline())
        run.terminate()
    assert run.returncode == 128 + signal.SIGTERM
    assert not Path(f"/proc/{child}").exists()
