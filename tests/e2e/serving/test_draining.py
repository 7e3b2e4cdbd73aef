"""Draining: readiness fails first, requests are still served, and no stream ends without an error."""

import asyncio
import signal
from pathlib import Path

import httpx2
import pytest

from support.server import wait_until
from support.server_process import run_server_process

CONFIG = """
server: {drain_delay_s: %s, drain_s: %s}
providers: {embedded: {kind: embedded, tokens_per_s: %s}}
routes: {hamlet: {deployments: [{provider: embedded, model: embedded-chat}]}}
"""
CHAT_BODY = {
    "model": "hamlet",
    "max_tokens": 12,
    "messages": [{"role": "user", "content": "one two three four five six seven eight nine ten"}],
}
CHAT = "/v1/chat/completions"


@pytest.fixture
def write_config(tmp_path: Path):
    def write(delay_s: float, limit_s: float, tokens_per_s: float) -> Path:
        path = tmp_path / "hamlet.yaml"
        path.write_text(CONFIG % (delay_s, limit_s, tokens_per_s))
        return path

    return write


async def test_readiness_fails_before_drain_while_serving_continues(write_config) -> None:
    async with run_server_process(write_config(3, 10, 0)) as hamlet, httpx2.AsyncClient() as http:
        assert (await http.get(f"{hamlet.url}/readyz")).status_code == 200
        kept = await http.post(hamlet.url + CHAT, json=CHAT_BODY)
        assert "connection" not in kept.headers
        hamlet.send_signal(signal.SIGTERM)

        async def is_unready() -> bool:
            return (await http.get(f"{hamlet.url}/readyz")).status_code != 200

        await wait_until(is_unready, interval_s=0.02)
        answer = await http.post(hamlet.url + CHAT, json=CHAT_BODY)
        assert (answer.status_code, answer.headers["connection"]) == (200, "close")
        assert (await http.get(f"{hamlet.url}/livez")).status_code == 200
        assert await hamlet.wait() == 0


async def test_running_streams_complete_during_drain(write_config) -> None:
    async with (
        run_server_process(write_config(0, 20, 6)) as hamlet,
        httpx2.AsyncClient(timeout=60) as http,
    ):
        async with http.stream(
            "POST", hamlet.url + CHAT, json=CHAT_BODY | {"stream": True}
        ) as answer:
            lines = answer.aiter_lines()
            first = [await anext(lines) for _ in range(2)]
            hamlet.send_signal(signal.SIGTERM)
            rest = [line async for line in lines]
        assert first[0].startswith("data: ")
        assert rest[-2:] == ["data: [DONE]", ""] or rest[-1] == "data: [DONE]"
        assert await hamlet.wait() == 0


async def test_stream_over_drain_limit_ends_with_error(write_config) -> None:
    async with (
        run_server_process(write_config(0, 1, 2)) as hamlet,
        httpx2.AsyncClient(timeout=60) as http,
    ):
        async with http.stream(
            "POST", hamlet.url + CHAT, json=CHAT_BODY | {"stream": True}
        ) as answer:
            lines = answer.aiter_lines()
            await anext(lines)
            hamlet.send_signal(signal.SIGTERM)
            rest = "\n".join([line async for line in lines])
        assert '"code":"draining"' in rest
        assert "[DONE]" not in rest
        assert await hamlet.wait() == 0
        assert '"cut":1' in hamlet.log.read_text()


async def test_keep_alive_request_is_answered_after_listener_closes(write_config) -> None:
    async with run_server_process(write_config(0, 10, 0)) as hamlet:
        host, port = hamlet.url.removeprefix("http://").split(":")
        reader, writer = await asyncio.open_connection(host, int(port))
        request = b"GET /livez HTTP/1.1\r\nhost: x\r\n\r\n"
        writer.write(request)
        assert b"connection: close" not in await reader.readuntil(b"}")
        hamlet.send_signal(signal.SIGTERM)
        async with asyncio.timeout(60):
            while True:
                try:
                    _, probe = await asyncio.open_connection(host, int(port))
                except ConnectionRefusedError:
                    break
                probe.close()
                await asyncio.sleep(0.02)
        writer.write(request)
        answer = await reader.read()
        assert answer.startswith(b"HTTP/1.1 200")
        assert b"connection: close" in answer
        writer.close()
        assert await hamlet.wait() == 0


async def test_second_signal_stops_immediately(write_config) -> None:
    async with run_server_process(write_config(60, 60, 0)) as hamlet:
        hamlet.send_signal(signal.SIGTERM)
        await wait_until(lambda: "drain.started" in hamlet.log.read_text())
        hamlet.send_signal(signal.SIGTERM)
        assert await hamlet.wait(8) == 0


async def test_sigint_stops_immediately(write_config) -> None:
    async with run_server_process(write_config(60, 60, 0)) as hamlet:
        hamlet.send_signal(signal.SIGINT)
        assert await hamlet.wait(8) == 0
