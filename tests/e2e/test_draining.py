"""A stopping hamlet: it says so first, answers what comes, and cuts nothing without a word."""

import asyncio
import signal
from pathlib import Path

import httpx2
import pytest

from support.process import started
from support.server import until

CONFIG = """
server: {drain_delay_s: %s, drain_s: %s}
providers: {embedded: {kind: embedded, tokens_per_s: %s}}
routes: {hamlet: {deployments: [{provider: embedded, model: embedded-chat}]}}
"""
ASK = {
    "model": "hamlet",
    "max_tokens": 12,
    "messages": [{"role": "user", "content": "one two three four five six seven eight nine ten"}],
}
CHAT = "/v1/chat/completions"


@pytest.fixture
def file(tmp_path: Path):
    def write(delay_s: float, limit_s: float, tokens_per_s: float) -> Path:
        path = tmp_path / "hamlet.yaml"
        path.write_text(CONFIG % (delay_s, limit_s, tokens_per_s))
        return path

    return write


async def test_it_says_first_that_it_will_stop_and_goes_on_serving(file) -> None:
    async with started(file(3, 10, 0)) as hamlet, httpx2.AsyncClient() as http:
        assert (await http.get(f"{hamlet.url}/readyz")).status_code == 200
        kept = await http.post(hamlet.url + CHAT, json=ASK)
        assert "connection" not in kept.headers
        hamlet.send(signal.SIGTERM)
        async with asyncio.timeout(60):
            while (await http.get(f"{hamlet.url}/readyz")).status_code == 200:
                await asyncio.sleep(0.02)
        answer = await http.post(hamlet.url + CHAT, json=ASK)
        assert (answer.status_code, answer.headers["connection"]) == (200, "close")
        assert (await http.get(f"{hamlet.url}/livez")).status_code == 200
        assert await hamlet.ended() == 0


async def test_streams_that_run_come_to_their_end(file) -> None:
    async with started(file(0, 20, 6)) as hamlet, httpx2.AsyncClient(timeout=60) as http:
        async with http.stream("POST", hamlet.url + CHAT, json=ASK | {"stream": True}) as answer:
            lines = answer.aiter_lines()
            first = [await anext(lines) for _ in range(2)]
            hamlet.send(signal.SIGTERM)
            rest = [line async for line in lines]
        assert first[0].startswith("data: ")
        assert rest[-2:] == ["data: [DONE]", ""] or rest[-1] == "data: [DONE]"
        assert await hamlet.ended() == 0


async def test_a_stream_over_the_limit_ends_in_an_error_and_not_as_if_whole(file) -> None:
    async with started(file(0, 1, 2)) as hamlet, httpx2.AsyncClient(timeout=60) as http:
        async with http.stream("POST", hamlet.url + CHAT, json=ASK | {"stream": True}) as answer:
            lines = answer.aiter_lines()
            await anext(lines)
            hamlet.send(signal.SIGTERM)
            rest = "\n".join([line async for line in lines])
        assert '"code":"draining"' in rest
        assert "[DONE]" not in rest
        assert await hamlet.ended() == 0
        assert '"cut":1' in hamlet.log.read_text()


async def test_what_comes_on_a_kept_connection_is_answered_after_the_door_is_shut(file) -> None:
    async with started(file(0, 10, 0)) as hamlet:
        host, port = hamlet.url.removeprefix("http://").split(":")
        reader, writer = await asyncio.open_connection(host, int(port))
        ask = b"GET /livez HTTP/1.1\r\nhost: x\r\n\r\n"
        writer.write(ask)
        assert b"connection: close" not in await reader.readuntil(b"}")
        hamlet.send(signal.SIGTERM)
        async with asyncio.timeout(60):
            while True:
                try:
                    _, probe = await asyncio.open_connection(host, int(port))
                except ConnectionRefusedError:
                    break
                probe.close()
                await asyncio.sleep(0.02)
        writer.write(ask)
        answer = await reader.read()
        assert answer.startswith(b"HTTP/1.1 200")
        assert b"connection: close" in answer
        writer.close()
        assert await hamlet.ended() == 0


async def test_told_twice_it_does_not_wait(file) -> None:
    async with started(file(60, 60, 0)) as hamlet:
        hamlet.send(signal.SIGTERM)
        await until(lambda: "drain.started" in hamlet.log.read_text())
        hamlet.send(signal.SIGTERM)
        assert await hamlet.ended(8) == 0


async def test_an_interrupt_from_the_keyboard_does_not_wait_either(file) -> None:
    async with started(file(60, 60, 0)) as hamlet:
        hamlet.send(signal.SIGINT)
        assert await hamlet.ended(8) == 0
