"""The simulator over real sockets: the vendors' own clients, raw HTTP, and hamlet in front."""

import asyncio
import json
import os
import signal
import sys
from collections.abc import AsyncIterator

import aiohttp
import anthropic
import openai
import pytest
import yaml
from openai import AsyncAzureOpenAI, AsyncOpenAI

from hamlet.config import loads
from hamlet.simulator import Fault, Latency, Ptu, SimulatedDeployment, SimulatorServer, marker
from hamlet.simulator.configuration import example_fleet, redirect_providers, simulated_deployments
from support.server import run_server, wait_until
from support.simulation import serve_simulation

QUICK = Latency(0.01, 0.1, 0.0005, 0.1)
SMALL = Ptu(24, 2500, 3.0, depth_s=10.0)
AZURE = SimulatedDeployment("az", "gpt-4o", "azure", "koreacentral", capacity=SMALL, latency=QUICK)
OPENAI = SimulatedDeployment("oa", "gpt-4o", "openai", latency=QUICK)
CLAUDE = SimulatedDeployment("an", "claude-opus-4-6", "anthropic", latency=QUICK)
MESSAGES = [{"role": "user", "content": marker(120, 17)}]


@pytest.fixture
async def server() -> AsyncIterator[SimulatorServer]:
    async with serve_simulation(AZURE, OPENAI, CLAUDE) as server:
        yield server


def clients(server: SimulatorServer) -> list[AsyncOpenAI]:
    """OpenAI, and Azure in both URL forms."""
    azure = f"{server.url}/az"
    return [
        AsyncOpenAI(base_url=f"{server.url}/oa/v1", api_key="k", max_retries=0),
        AsyncOpenAI(base_url=f"{azure}/openai/v1", api_key="k", max_retries=0),
        AsyncAzureOpenAI(
            azure_endpoint=azure, api_version="2024-10-21", api_key="k", max_retries=0
        ),
    ]


@pytest.mark.parametrize("form", [0, 1, 2])
async def test_the_openai_client_is_answered(server: SimulatorServer, form: int) -> None:
    async with clients(server)[form] as client:
        whole = await client.chat.completions.create(model="gpt-4o", messages=MESSAGES)
        stream = await client.chat.completions.create(
            model="gpt-4o", messages=MESSAGES, stream=True, stream_options={"include_usage": True}
        )
        text, usage = "", None
        async for chunk in stream:
            text += (chunk.choices and chunk.choices[0].delta.content) or ""
            usage = chunk.usage or usage
    assert whole.choices[0].message.content == text == "word " * 17
    assert whole.usage.prompt_tokens == usage.prompt_tokens == 120
    assert whole.usage.completion_tokens == usage.completion_tokens == 17


async def test_the_anthropic_client_is_answered(server: SimulatorServer) -> None:
    async with anthropic.AsyncAnthropic(
        base_url=f"{server.url}/an", api_key="k", max_retries=0
    ) as client:
        request = {"model": CLAUDE.model, "max_tokens": 10, "messages": MESSAGES}
        whole = await client.messages.create(**request)
        async with client.messages.stream(**request) as stream:
            streamed = await stream.get_final_message()
    for message in (whole, streamed):
        assert message.content[0].text == "word " * 10
        assert message.stop_reason == "max_tokens"
        assert (message.usage.input_tokens, message.usage.output_tokens) == (120, 10)


async def test_full_deployment_returns_retry_after_ms(server: SimulatorServer) -> None:
    fill = [{"role": "user", "content": marker(40_000, 1)}]
    async with clients(server)[1] as client:
        first = await client.chat.completions.with_raw_response.create(
            model="gpt-4o", messages=fill, max_tokens=1
        )
        assert first.headers["azure-openai-deployment-utilization"] == "400.0%"
        with pytest.raises(openai.RateLimitError) as caught:
            await client.chat.completions.create(model="gpt-4o", messages=MESSAGES)
    # 30,000 over, 1,000 a second.
    headers = caught.value.response.headers
    assert 25_000 < int(headers["retry-after-ms"]) <= 30_001
    assert 25 < int(headers["retry-after"]) <= 30
    assert headers["x-ms-region"] == "koreacentral"


async def test_unknown_names_models_and_paths_are_not_found(server: SimulatorServer) -> None:
    async with aiohttp.ClientSession(server.url) as http:
        for path, model in (
            ("/nobody/v1/chat/completions", "gpt-4o"),
            ("/oa/v1/chat/completions", "gpt-5"),
            ("/oa/v1/messages", "gpt-4o"),
            ("/an/v1/chat/completions", CLAUDE.model),
            ("/az/openai/deployments/other/chat/completions?api-version=1", "gpt-4o"),
        ):
            async with http.post(path, json={"model": model, "messages": []}) as response:
                assert response.status == 404
                assert "error" in await response.json()
        async with http.post("/oa/v1/chat/completions", data=b"[") as response:
            assert response.status == 400
        async with http.get("/az/openai/v1/models") as response:
            assert (await response.json())["data"][0]["id"] == "gpt-4o"


async def test_faults_are_set_and_counters_read_while_it_runs(server: SimulatorServer) -> None:
    async with aiohttp.ClientSession(server.url) as http, clients(server)[0] as client:
        faults = [{"kind": "status", "status": 503, "at": ["oa"]}]
        async with http.put("/_simulator/faults", json=faults) as response:
            assert await response.json() == {"faults": 1}
        with pytest.raises(openai.InternalServerError):
            await client.chat.completions.create(model="gpt-4o", messages=MESSAGES)
        async with http.put("/_simulator/faults", json=[]) as response:
            assert response.status == 200
        await client.chat.completions.create(model="gpt-4o", messages=MESSAGES)
        async with http.put("/_simulator/faults", json=[{"kind": "nonsense"}]) as response:
            assert response.status == 400
            assert "nonsense" in (await response.json())["error"]
        async with http.get("/_simulator/elsewhere") as response:
            assert response.status == 404
        async with http.get("/_simulator/state") as response:
            state = await response.json()
    mine = state["deployments"]["oa/gpt-4o"]
    assert (mine["requests"], mine["faulted"], mine["answered"], mine["in_flight"]) == (2, 1, 1, 0)
    assert state["accepted"] == 2
    assert state["deployments"]["az/gpt-4o"]["requests"] == 0


@pytest.mark.parametrize(
    ("fault", "expected"),
    [
        (Fault("dead"), (aiohttp.ServerDisconnectedError, aiohttp.ClientOSError)),
        (Fault("reset", after=2), (aiohttp.ClientPayloadError, aiohttp.ClientOSError)),
        (Fault("cut", after=2), aiohttp.ClientPayloadError),
        (Fault("stall", after=2), TimeoutError),
        (Fault("pings", after=2), TimeoutError),
        (Fault("silent"), TimeoutError),
    ],
    ids=lambda value: value.kind if isinstance(value, Fault) else "",
)
async def test_connections_break_as_they_should(fault: Fault, expected) -> None:
    async with serve_simulation(OPENAI, faults=[fault]) as server:
        body = {"model": "gpt-4o", "messages": MESSAGES, "stream": True}
        limit = aiohttp.ClientTimeout(total=0.5)
        got = b""
        async with aiohttp.ClientSession(server.url, timeout=limit) as http:
            with pytest.raises(expected):
                async with http.post("/oa/v1/chat/completions", json=body) as response:
                    async for data in response.content.iter_any():
                        got += data
        assert got.count(b"word") == (5 if fault.after else 0)
        assert b"[DONE]" not in got
        await wait_until(lambda: server.world.state()["oa/gpt-4o"]["in_flight"] == 0)


async def test_a_truncated_stream_ends_well_formed_and_unfinished() -> None:
    async with serve_simulation(OPENAI, faults=[Fault("truncate", after=2)]) as server:
        async with clients(server)[0] as client:
            stream = await client.chat.completions.create(
                model="gpt-4o", messages=MESSAGES, stream=True
            )
            chunks = [chunk async for chunk in stream]
    assert all(chunk.choices[0].finish_reason is None for chunk in chunks)


async def test_each_deployment_may_have_a_port_of_its_own() -> None:
    async with serve_simulation(OPENAI, CLAUDE, ports="each") as server:
        assert sorted(server.urls) == ["an", "oa"]
        async with AsyncOpenAI(base_url=f"{server.urls['oa']}/v1", api_key="k") as client:
            await client.chat.completions.create(model="gpt-4o", messages=MESSAGES)
        async with aiohttp.ClientSession(server.urls["an"]) as http:
            async with http.get("/_simulator/state") as response:
                assert (await response.json())["deployments"]["oa/gpt-4o"]["answered"] == 1


async def test_disconnected_clients_release_capacity(server: SimulatorServer) -> None:
    body = {"model": "gpt-4o", "stream": True, "max_tokens": 100_000}
    body["messages"] = [{"role": "user", "content": marker(10, 100_000)}]
    async with aiohttp.ClientSession(server.url) as http:
        for _ in range(5):
            async with http.post("/oa/v1/chat/completions", json=body) as response:
                await response.content.readany()
                response.close()
    await wait_until(lambda: server.world.state()["oa/gpt-4o"]["in_flight"] == 0)
    state = server.world.state()["oa/gpt-4o"]
    assert (state["broken_off"], state["answered"]) == (5, 0)


async def test_stalled_reader_applies_backpressure() -> None:
    endless = SimulatedDeployment(
        "oa", wire="openai", latency=Latency(0.0, 0.0, 1e-9), tokens_per_frame=1000
    )
    async with serve_simulation(endless) as server:
        reader, writer = await asyncio.open_connection(*server.url[7:].split(":"))
        content = json.dumps(marker(1, 100_000_000))
        body = f'{{"model":"gpt-4o","stream":true,"messages":[{{"content":{content}}}]}}'.encode()
        head = f"POST /oa/v1/chat/completions HTTP/1.1\r\nhost: x\r\ncontent-length: {len(body)}\r\n\r\n"
        writer.write(head.encode() + body)
        sent = -1
        play = next(iter(server._connections))
        async with asyncio.timeout(20):
            await wait_until(lambda: play._paused, interval_s=0.02)
        sent = play._current.output_tokens
        await asyncio.sleep(0.1)
        assert play._current.output_tokens == sent > 0
        await reader.readexactly(20_000_000)
        await wait_until(lambda: play._current.output_tokens > sent)
        writer.close()
        await wait_until(lambda: not server._connections)


async def test_pipelined_requests_are_answered_in_order(server: SimulatorServer) -> None:
    reader, writer = await asyncio.open_connection(*server.url[7:].split(":"))
    request = b"GET /oa/v1/models HTTP/1.1\r\nhost: x\r\n\r\n"
    writer.write(request + request.replace(b"/oa/", b"/an/"))
    both = b""
    while both.count(b"0\r\n\r\n") < 2:
        both += await reader.read(4096)
    assert both.index(b"gpt-4o") < both.index(b"claude")
    writer.write(b"not http at all\r\n\r\n")
    with pytest.raises(ConnectionError):
        if not await reader.read(1):
            raise ConnectionResetError
    writer.close()


async def test_hamlet_in_front_of_a_simulated_fleet() -> None:
    loaded = loads(example_fleet(6))
    async with serve_simulation(*simulated_deployments(loaded.config)) as server:
        text = yaml.safe_dump(redirect_providers(loaded.source.data, server.url))
        async with run_server(text) as running:
            async with AsyncOpenAI(base_url=f"{running.url}/v1", api_key="k") as client:
                got = await asyncio.gather(
                    *(
                        client.chat.completions.create(model="chat", messages=MESSAGES)
                        for _ in range(20)
                    )
                )
        assert [answer.usage.completion_tokens for answer in got] == [17] * 20
        answered = {id_: s["answered"] for id_, s in server.world.state().items()}
    assert sum(answered.values()) == 20


@pytest.mark.parametrize("stop", [signal.SIGINT, signal.SIGTERM])
async def test_runs_as_a_command(tmp_path, stop) -> None:
    written = tmp_path / "pointed.yaml"
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "hamlet.testing.simulator", "--fleet", "3", "--seed", "7"),
        *("--write", str(written)),
        stdout=asyncio.subprocess.PIPE,
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
    )
    try:
        async with asyncio.timeout(30):
            line = (await process.stdout.readline()).decode()
        assert line.startswith("7 deployments at http://127.0.0.1:")
        url = line.split()[-1]
        providers = yaml.safe_load(written.read_text())["providers"]
        assert all(row["base_url"].startswith(url) for row in providers.values())
        async with aiohttp.ClientSession() as http:
            async with http.get(f"{url}/_simulator/state") as response:
                assert len((await response.json())["deployments"]) == 7
    finally:
        process.send_signal(stop)
        assert await process.wait() == 0


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("providers: {}\nroutes: {}\n", "providers"),
        ("providers: {e: {kind: embedded}}\nroutes: {r: {deployments: [{provider: e, model: m}]}}",
         "no vendor"),
    ],
)  # fmt: skip
async def test_says_what_is_wrong_with_its_configuration(tmp_path, text, said) -> None:
    file = tmp_path / "bad.yaml"
    file.write_text(text)
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "hamlet.testing.simulator", "--config", str(file)),
        stderr=asyncio.subprocess.PIPE,
    )
    _, stderr = await process.communicate()
    assert process.returncode == 2
    assert said in stderr.decode()
    assert "Traceback" not in stderr.decode()
