"""Upstream connections: refused, untrusted, stale, blocked, redirected, cancelled."""

import asyncio
import itertools
import random
import socket
import ssl
import subprocess
import warnings
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from hamlet.core import Text
from hamlet.net.client.addresses import is_forbidden_address
from hamlet.testing import Canned, LoopbackUpstream, Received, json_reply, sse_reply
from hamlet.testing.cases import chat_response
from loadtest.engine.processes import free_port
from support import fault_harness as stage_module
from support.fault_harness import (
    GOOD_ANSWER_TEXT,
    RETRY_POLICY,
    FaultHarness,
    answer_frames,
    fault_harness,
    provider,
    respond_ok,
)
from support.loopback_vendor import wire_for
from support.raw_upstream import RawUpstream, ServerConnection
from support.server import wait_until


def failover_config(
    first_provider: dict[str, Any], good: LoopbackUpstream, **policy: Any
) -> dict[str, Any]:
    """A configuration whose route `r` tries `first`, then the good upstream."""
    return {
        "providers": {"first": first_provider, "good": provider("openai", good.url)},
        "routes": {
            "r": {
                "tiers": [
                    [{"provider": "first", "model": "m"}],
                    [{"provider": "good", "model": "m"}],
                ],
                "policy": {**RETRY_POLICY, **policy},
            },
            "alone": {
                "deployments": [{"provider": "first", "model": "n"}],
                "policy": {**RETRY_POLICY, **policy},
            },
        },
    }


@pytest.fixture(params=["httptools", "aiohttp"], autouse=True)
def transport_kind(request, monkeypatch) -> str:
    """Both transports must behave alike."""
    monkeypatch.setattr(stage_module, "TRANSPORT", request.param)
    return request.param


@pytest.fixture
async def good() -> AsyncIterator[LoopbackUpstream]:
    async with LoopbackUpstream() as upstream:
        upstream.respond(respond_ok)
        yield upstream


async def assert_failover(stage: FaultHarness, **more: Any) -> None:
    response = await stage.chat("r", **more)
    assert (response.status, response.text) == (200, GOOD_ANSWER_TEXT)
    assert stage.call_lines(response.id)[0]["attempts"] == 2


async def test_refused_connection_fails_over_and_is_ejected_after_three(good) -> None:
    first = provider("openai", f"http://127.0.0.1:{free_port()}")
    async with fault_harness(failover_config(first, good)) as stage:
        for stream in (True, False, True):
            await assert_failover(stage, stream=stream)
        response = await stage.chat("r")
        assert stage.call_lines(response.id)[0]["attempts"] == 1, "it is out"


# -- TLS


def run_openssl(folder: Path, *words: str) -> None:
    subprocess.run(["openssl", *words], cwd=folder, check=True, capture_output=True)


@pytest.fixture(scope="module")
def certificate_folder(tmp_path_factory) -> Path:
    """A folder with a CA (ca.pem) and certificates: good, expired, elsewhere, selfsigned."""
    folder = tmp_path_factory.mktemp("authority")
    curve = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"]
    subject = ["-subj", "/CN=stage"]
    run_openssl(
        folder,
        "req",
        "-x509",
        *curve,
        *subject,
        "-days",
        "2",
        "-keyout",
        "ca.key",
        "-out",
        "ca.pem",
    )
    cases = {
        "good": ("127.0.0.1", "2"),
        "expired": ("127.0.0.1", "-1"),
        "elsewhere": ("127.0.0.9", "2"),
    }
    for name, (address, days) in cases.items():
        run_openssl(
            folder, "req", *curve, *subject, "-keyout", f"{name}.key", "-out", f"{name}.csr"
        )
        (folder / f"{name}.ext").write_text(f"subjectAltName=IP:{address}\n")
        words = ["x509", "-req", "-in", f"{name}.csr", "-CA", "ca.pem", "-CAkey", "ca.key"]
        run_openssl(folder, *words, "-days", days, "-extfile", f"{name}.ext", "-out", f"{name}.pem")
    own = ["-addext", "subjectAltName=IP:127.0.0.1", "-days", "2"]
    run_openssl(
        folder,
        "req",
        "-x509",
        *curve,
        *subject,
        *own,
        "-keyout",
        "selfsigned.key",
        "-out",
        "selfsigned.pem",
    )
    return folder


def server_tls(certificate_folder: Path, name: str) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate_folder / f"{name}.pem", certificate_folder / f"{name}.key")
    return context


@pytest.mark.parametrize("name", ["good", "expired", "elsewhere", "selfsigned", "old"])
async def test_invalid_upstream_certificate_is_rejected(good, certificate_folder, name) -> None:
    context = server_tls(certificate_folder, "good" if name == "old" else name)
    if name == "old":
        context.set_ciphers("ALL:@SECLEVEL=0")
        with warnings.catch_warnings(action="ignore"):
            context.minimum_version = ssl.TLSVersion.TLSv1
            context.maximum_version = ssl.TLSVersion.TLSv1_1
    async with LoopbackUpstream(tls=context) as secure:
        secure.respond(respond_ok)
        first = provider("openai", secure.url, ca_file=str(certificate_folder / "ca.pem"))
        async with fault_harness(failover_config(first, good)) as stage:
            if name == "good":
                assert (await stage.chat("alone")).text == GOOD_ANSWER_TEXT
                return
            await assert_failover(stage)
            response = await stage.chat("alone")
        assert response.status == 502
        assert secure.requests == [], "nothing was said to it, verified or not"


async def test_tls_handshake_reset_fails_over(good) -> None:
    async def reset_after_first_byte(peer: ServerConnection, _: int) -> None:
        await peer.reader.read(1)
        peer.reset()

    async with RawUpstream(reset_after_first_byte) as upstream:
        first = provider("openai", upstream.url.replace("http:", "https:"))
        async with fault_harness(failover_config(first, good)) as stage:
            await assert_failover(stage)


# -- reused connections


@pytest.mark.slow
async def test_stale_connection_race_is_retried_transparently(good) -> None:
    """The upstream closes unannounced after each response, at moments around the next request."""
    rng = random.Random(33)

    async def close_after_response(peer: ServerConnection, _: int) -> None:
        await peer.read_request()
        await peer.send(json_response(response_body()))
        await asyncio.sleep(rng.random() * 0.004)

    async with (
        RawUpstream(close_after_response) as upstream,
        fault_harness(failover_config(provider("openai", upstream.url), good)) as stage,
    ):

        async def caller() -> None:
            for _ in range(50):
                response = await stage.chat("alone", stream=False)
                assert (response.status, response.text) == (200, GOOD_ANSWER_TEXT), response.body
                await asyncio.sleep(rng.random() * 0.004)

        await asyncio.gather(*(caller() for _ in range(6)))
        failed = [line for line in stage.log if line["event"] == "attempt.failed"]
        assert failed == []


def response_body(text: str = GOOD_ANSWER_TEXT) -> bytes:
    return wire_for(Received("POST", "/v1", {}, {}, b"")).whole(chat_response(Text(text)))


def json_response(body: bytes) -> bytes:
    head = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n"
    return head % len(body) + body


@pytest.mark.parametrize("late", [False, True])
async def test_unsolicited_response_bytes_are_discarded(good, late: bool) -> None:
    """A surplus response must not reach the next caller, who may be another one."""
    expected = json_response(response_body())
    surplus = json_response(response_body("somebody else's"))

    async def respond_twice(peer: ServerConnection, _: int) -> None:
        while True:
            await peer.read_request()
            if late:
                await peer.send(expected)
                await asyncio.sleep(0.02)
                await peer.send(surplus)
            else:
                await peer.send(expected + surplus)

    async with (
        RawUpstream(respond_twice) as upstream,
        fault_harness(failover_config(provider("openai", upstream.url), good)) as stage,
    ):
        for _ in range(5):
            response = await stage.chat("alone", stream=False)
            # Bytes after a response in the same read may invalidate it: framing is strict.
            assert response.status == 200 if late else response.status in (200, 502, 503)
            assert response.status != 200 or response.text == GOOD_ANSWER_TEXT
            assert b"somebody else" not in response.body
            await asyncio.sleep(0.04 if late else 0)


# -- where a call may be sent


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_redirect_is_never_followed(good, status: int) -> None:
    async with LoopbackUpstream() as first, LoopbackUpstream() as trap:
        trap.respond(respond_ok)
        first.reply(Canned(status, {"location": f"{trap.url}/v1/chat/completions"}))
        async with fault_harness(failover_config(provider("openai", first.url), good)) as stage:
            await assert_failover(stage)
            await assert_failover(stage, stream=False)
        assert trap.accepted == 0


async def test_caller_input_cannot_change_upstream_host(good) -> None:
    async with LoopbackUpstream() as trap:
        trap.respond(respond_ok)
        async with fault_harness(failover_config(provider("openai", good.url), good)) as stage:
            image = {"type": "image_url", "image_url": {"url": f"{trap.url}/cat.png"}}
            turns = [{"role": "user", "content": [image]}]
            odd = {"base_url": trap.url, "api_base": trap.url, "url": trap.url}
            response = await stage.chat("alone", messages=turns, **odd)
            assert response.status == 200
            for model in (
                trap.url,
                f"alone@{trap.url}",
                "../../alone",
                "alone?x=",
                "alone#",
                "first/n",
            ):
                response = await stage.chat(model)
                assert response.status == 404
        assert trap.accepted == 0
        assert {request.path for request in good.requests} == {"/v1/chat/completions"}


def test_blocked_addresses_are_rejected_for_any_name() -> None:
    for address in (
        "169.254.169.254",
        "fe80::1%eth0",
        "::ffff:169.254.169.254",
        "168.63.129.16",
        "fd00:ec2::254",
        "0.0.0.0",
        "::",
        "224.0.0.1",
    ):
        assert is_forbidden_address(address), address
    for address in ("10.1.2.3", "127.0.0.1", "::1", "192.168.0.7", "20.1.2.3", "fd12::1"):
        assert not is_forbidden_address(address), address


async def test_name_resolving_to_metadata_service_is_blocked(good, monkeypatch) -> None:
    resolve = socket.getaddrinfo

    def poisoned(host: Any, *more: Any, **how: Any) -> list[Any]:
        if host != "vendor.example":
            return resolve(host, *more, **how)
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("169.254.169.254", 80))]

    first = provider("openai", "http://vendor.example:80")
    async with fault_harness(failover_config(first, good)) as stage:
        monkeypatch.setattr(socket, "getaddrinfo", poisoned)
        await assert_failover(stage)


# -- clients that disconnect


def endless_stream(request: Received) -> Canned:
    frames = answer_frames(wire_for(request))
    return sse_reply(frames[:3], end="hang")


STALL_POINTS: dict[str, Callable[[Received], Canned]] = {
    "before the headers": lambda request: Canned(before="hang"),
    "before content": lambda request: sse_reply(answer_frames(wire_for(request))[:1], end="hang"),
    "in mid-stream": endless_stream,
}


@pytest.mark.parametrize("moment", STALL_POINTS)
@pytest.mark.parametrize("how", ["close", "reset"])
async def test_client_disconnect_cancels_upstream_call(good, moment: str, how: str) -> None:
    async with LoopbackUpstream() as first:
        first.respond(STALL_POINTS[moment])
        config = failover_config(provider("openai", first.url), good, first_token_s=30, idle_s=30)
        async with fault_harness({**config, "server": {"header_wait_s": 0.05}}) as stage:
            async with stage.dial() as raw:
                await raw.send_post(
                    "/v1/chat/completions", stage.chat_body("r"), **{"x-request-id": "req_left"}
                )
                await first.received()
                if moment == "in mid-stream":
                    while "안녕".encode() not in await raw.read():
                        pass
                if how == "reset":
                    raw.reset()
            await first.hung_up()
            await stage.wait_for_call_line("req_left")
            assert stage.call_lines("req_left")[0]["outcome"] == "cancelled"
            assert good.requests == []


async def test_client_disconnect_between_attempts_ends_call(good) -> None:
    async with LoopbackUpstream() as first:
        first.reply(json_reply({}, 429, {"retry-after-ms": "3000"}))
        config = failover_config(
            provider("openai", first.url), good, wait_share=1.0, first_token_s=8.0
        )
        async with fault_harness(config) as stage:
            async with stage.dial() as raw:
                body = stage.chat_body("alone")
                await raw.send_post("/v1/chat/completions", body, **{"x-request-id": "req_left"})
                await first.received()
            await stage.wait_for_call_line("req_left")
            assert stage.call_lines("req_left")[0]["outcome"] == "cancelled"
            assert len(first.requests) == 1


@pytest.mark.slow
async def test_pool_is_intact_after_many_cancelled_calls(good) -> None:
    """Twenty callers at a time on ten connections, most of whom disconnect at a random moment."""
    rng = random.Random(40)
    async with LoopbackUpstream() as first:
        first.respond(
            lambda request: sse_reply(
                answer_frames(wire_for(request)), pause_s=rng.random() * 0.005
            )
        )
        row = provider("openai", first.url, max_connections=10)
        async with fault_harness(failover_config(row, good, first_token_s=10, idle_s=10)) as stage:

            async def leave(n: int) -> None:
                async with stage.dial() as raw:
                    body = stage.chat_body("alone")
                    await raw.send_post(
                        "/v1/chat/completions", body, **{"x-request-id": f"req_{n}"}
                    )
                    await asyncio.sleep(rng.random() * 0.03)

            numbers = itertools.count()
            for _ in range(20):
                await asyncio.gather(*(leave(next(numbers)) for _ in range(20)))
            await wait_until(lambda: stage.running.hamlet.gateway.admission.in_flight == 0)
            done = await asyncio.gather(*(stage.chat("alone") for _ in range(20)))
            assert [response.text for response in done] == [GOOD_ANSWER_TEXT] * 20
            assert "PoolTimeout" not in stage.running.log.getvalue()


async def test_stalled_reader_does_not_delay_failover(good) -> None:
    async with LoopbackUpstream() as first:
        first.reply(json_reply({}, 500))
        async with fault_harness(failover_config(provider("openai", first.url), good)) as stage:
            async with stage.dial(receive_bytes=2048) as raw:
                body = stage.chat_body("r")
                await raw.send_post("/v1/chat/completions", body, **{"x-request-id": "req_deaf"})
                await stage.wait_for_call_line("req_deaf")
                received = b""
                while b"[DONE]" not in received:
                    received += await raw.read()
            assert stage.call_lines("req_deaf")[0]["attempts"] == 2
