"""Tests of a provider that calls a vendor over HTTP, against a loopback upstream."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Mapping
from dataclasses import replace
from typing import Any

import msgspec
import pytest
import pytest_asyncio

from hamlet.core import ChatRequest, ChatResponse, NativeRequest, Text, errors
from hamlet.spi import Runtime
from hamlet.testing.cases import ANSWERS, CASES, chat_request, chat_response
from hamlet.testing.conformance import ChatConformance
from hamlet.testing.loopback import Canned, LoopbackUpstream, Received, json_reply, sse_reply
from hamlet.testing.support import (
    collect_events,
    collect_response,
    run_chat,
    without_vendor_details,
)
from hamlet.testing.wire import Wire

_ERRORS_BY_STATUS: Mapping[int, Any] = {
    400: errors.InvalidRequest,
    401: errors.UpstreamAuth,
    403: errors.UpstreamAuth,
    # The model, or something the request names: the error's text tells them apart.
    404: (errors.ModelMissing, errors.InvalidRequest),
    408: errors.UpstreamTimeout,
    429: errors.RateLimited,
    500: errors.UpstreamUnavailable,
    502: errors.UpstreamUnavailable,
    503: errors.Overloaded,
    504: errors.UpstreamTimeout,
    529: errors.Overloaded,
}


class WireConformance(ChatConformance):
    """Chat over HTTP. Give `wire`, `features` and `make`."""

    wire: Wire

    @pytest_asyncio.fixture
    async def upstream(self) -> AsyncIterator[LoopbackUpstream]:
        """The vendor; by default it echoes the messages."""
        async with LoopbackUpstream() as upstream:
            upstream.respond(self._echo)
            yield upstream

    @pytest.fixture
    def provider(self, host: Runtime, upstream: LoopbackUpstream) -> Any:
        """The provider under test, pointed at the loopback upstream."""
        return self.make(upstream.url, host)

    def _echo(self, request: Received) -> Canned:
        """An answer that contains the request's messages, so that no two calls get the same."""
        response = chat_response(Text(json.dumps(request.json["messages"], ensure_ascii=False)))
        return self._to_reply(response, stream=bool(request.json.get("stream")))

    def _to_reply(self, response: ChatResponse, *, stream: bool) -> Canned:
        return (
            sse_reply(self.wire.frames(response))
            if stream
            else json_reply(self.wire.whole(response))
        )

    def _supported_responses(self) -> dict[str, ChatResponse]:
        return {
            name: said
            for name, (said, feature) in ANSWERS.items()
            if feature is None or feature in self.features
        }

    # -- requests

    async def test_construction_does_no_io(self, provider: Any, upstream: LoopbackUpstream) -> None:
        await asyncio.sleep(0)
        assert upstream.accepted == 0

    async def test_sends_the_documented_bodies(
        self, provider: Any, upstream: LoopbackUpstream
    ) -> None:
        for name, expected in self.wire.golden().items():
            await run_chat(provider, replace(CASES[name], model=self.wire.model))
            assert upstream.requests[-1].json == expected, name

    async def test_provider_options_reach_the_body(
        self, provider: Any, upstream: LoopbackUpstream
    ) -> None:
        options = {self.wire.kind: {"kit_option": 7}, "somebody-else": {"other": 1}}
        await run_chat(provider, replace(chat_request(), provider_options=options))
        assert upstream.requests[-1].json["kit_option"] == 7
        assert "other" not in upstream.requests[-1].json

    # -- answers

    async def test_decodes_whole_answers(self, provider: Any, upstream: LoopbackUpstream) -> None:
        for name, said in self._supported_responses().items():
            upstream.reply(self._to_reply(said, stream=False))
            assert without_vendor_details(await run_chat(provider, chat_request())) == said, name

    async def test_decodes_streams(self, provider: Any, upstream: LoopbackUpstream) -> None:
        for name, said in self._supported_responses().items():
            for pieces in (1, 2, 7):
                upstream.reply(sse_reply(self.wire.frames(said, pieces)))
                got = await run_chat(provider, chat_request(stream=True))
                assert without_vendor_details(got) == said, f"{name} in {pieces} pieces"

    async def test_survives_a_split_at_every_byte(
        self, provider: Any, upstream: LoopbackUpstream
    ) -> None:
        for name, said in self._supported_responses().items():
            upstream.reply(sse_reply(self.wire.frames(said), split=1))
            assert (
                without_vendor_details(await run_chat(provider, chat_request(stream=True))) == said
            ), name

    async def test_takes_an_answer_of_a_megabyte(
        self, provider: Any, upstream: LoopbackUpstream
    ) -> None:
        said = chat_response(Text("안녕 " * 200_000))
        for stream in (False, True):
            frames = self.wire.frames(said, pieces=400)
            upstream.reply(sse_reply(frames) if stream else json_reply(self.wire.whole(said)))
            assert (await run_chat(provider, chat_request(stream=stream))).text == said.text

    async def test_keepalives_say_nothing(self, provider: Any, upstream: LoopbackUpstream) -> None:
        said = chat_response(Text("Hello, world."))
        frames = [f for frame in self.wire.frames(said) for f in (self.wire.keepalive(), frame)]
        upstream.reply(sse_reply(frames))
        assert without_vendor_details(await run_chat(provider, chat_request(stream=True))) == said

    async def test_knows_every_finish_reason(
        self, provider: Any, upstream: LoopbackUpstream
    ) -> None:
        for raw, reason in self.wire.reasons().items():
            said = replace(chat_response(Text("Hi.")), reason=reason, raw_reason=raw)
            for stream in (False, True):
                upstream.reply(self._to_reply(said, stream=stream))
                got = await run_chat(provider, chat_request(stream=stream))
                assert (got.reason, got.raw_reason) == (reason, raw)

    # -- errors

    @pytest.mark.parametrize("status", _ERRORS_BY_STATUS)
    async def test_maps_a_status_to_its_class(
        self, provider: Any, upstream: LoopbackUpstream, status: int
    ) -> None:
        upstream.reply(json_reply(self.wire.error(status), status))
        with pytest.raises(_ERRORS_BY_STATUS[status]) as caught:
            await collect_events(provider, chat_request())
        assert caught.value.upstream_status == status
        assert len(upstream.requests) == 1, "one attempt is one request"

    @pytest.mark.parametrize(
        ("headers", "seconds"),
        [
            ({"retry-after-ms": "1500"}, 1.5),
            ({"retry-after": "3"}, 3.0),
            (
                {
                    "date": "Tue, 24 Nov 2026 12:00:00 GMT",
                    "retry-after": "Tue, 24 Nov 2026 12:00:07 GMT",
                },
                7.0,
            ),
            ({"retry-after": "soon"}, None),
            ({}, None),
        ],
    )
    async def test_reads_the_wait_of_a_429(
        self,
        provider: Any,
        upstream: LoopbackUpstream,
        headers: dict[str, str],
        seconds: float | None,
    ) -> None:
        upstream.reply(json_reply(self.wire.error(429), 429, headers))
        with pytest.raises(errors.RateLimited) as caught:
            await collect_events(provider, chat_request())
        assert caught.value.retry_after == seconds

    async def test_a_refused_connection_has_sent_nothing(self, host: Runtime) -> None:
        async with LoopbackUpstream() as upstream:
            provider = self.make(upstream.url, host)
        with pytest.raises(errors.UpstreamUnavailable) as caught:
            await collect_events(provider, chat_request())
        assert caught.value.phase == "connect"

    async def test_a_reset_before_the_headers(
        self, provider: Any, upstream: LoopbackUpstream
    ) -> None:
        upstream.reply(Canned(before="reset"))
        with pytest.raises(errors.UpstreamUnavailable):
            await collect_events(provider, chat_request())

    @pytest.mark.parametrize("body", [b"<html>oops</html>", b"[]", b"{}", b"null", b'{"a":'])
    async def test_an_answer_that_is_none(
        self, provider: Any, upstream: LoopbackUpstream, body: bytes
    ) -> None:
        for stream in (False, True):
            upstream.reply(json_reply(body))
            with pytest.raises(errors.UpstreamProtocol):
                await collect_events(provider, chat_request(stream=stream))

    @pytest.mark.parametrize("end", ["truncate", "reset"])
    async def test_a_broken_stream_is_not_an_answer(
        self, provider: Any, upstream: LoopbackUpstream, end: Any
    ) -> None:
        frames = self.wire.frames(chat_response(Text("Hello, world.")))
        for cut in range(1, len(frames) - 2):
            upstream.reply(sse_reply(frames[:cut], end=end))
            with pytest.raises((errors.UpstreamUnavailable, errors.UpstreamProtocol)) as caught:
                await run_chat(provider, chat_request(stream=True))
            assert caught.value.phase in ("open", "stream")

    async def test_a_stream_that_only_stops_has_no_end(
        self, provider: Any, upstream: LoopbackUpstream
    ) -> None:
        frames = self.wire.frames(chat_response(Text("Hello, world.")), pieces=3)
        upstream.reply(sse_reply(frames[:3]))
        events = [event async for event in provider.chat(chat_request(stream=True))]
        with pytest.raises(ValueError, match="no end"):
            await collect_response(events)

    async def test_an_error_inside_a_stream(
        self, provider: Any, upstream: LoopbackUpstream
    ) -> None:
        frames = self.wire.frames(chat_response(Text("Hello")))
        for before in (0, 2):
            upstream.reply(sse_reply([*frames[:before], self.wire.stream_error()]))
            with pytest.raises(errors.Overloaded):
                await collect_events(provider, chat_request(stream=True))

    # -- cleanup

    async def test_an_early_close_closes_the_upstream_call(
        self, provider: Any, upstream: LoopbackUpstream
    ) -> None:
        frames = self.wire.frames(chat_response(Text("Hello, world.")))
        upstream.reply(sse_reply(frames[:2], end="hang"))
        source = provider.chat(chat_request(stream=True))
        await anext(source)
        await source.aclose()
        await upstream.hung_up()

    async def test_a_cancelled_call_closes_the_upstream_call(
        self, provider: Any, upstream: LoopbackUpstream
    ) -> None:
        upstream.reply(Canned(before="hang"))
        call = asyncio.ensure_future(collect_events(provider, chat_request()))
        await upstream.received()
        call.cancel()
        await upstream.hung_up()
        with pytest.raises(asyncio.CancelledError):
            await call

    # -- the fast lane

    def _native_request(self, request: ChatRequest) -> NativeRequest:
        body = self.wire.native(request)
        if body is None:
            pytest.skip("the adapter has no fast lane, which is optional")
        fields = {key: msgspec.Raw(json.dumps(value).encode()) for key, value in body.items()}
        return NativeRequest(self.wire.model, fields, request.stream)

    async def _collect_native(self, provider: Any, request: ChatRequest) -> list[Any]:
        native = self._native_request(request)
        return [chunk async for chunk in provider.native(native)]

    async def test_the_fast_lane_forwards_the_same_answer(
        self, provider: Any, upstream: LoopbackUpstream
    ) -> None:
        for name, said in self._supported_responses().items():
            for stream in (False, True):
                upstream.reply(self._to_reply(said, stream=stream))
                chunks = await self._collect_native(provider, chat_request(stream=stream))
                assert chunks[-1].end
                assert [c.finish for c in chunks if c.finish] == [said.reason]
                usage = next(c.usage for c in reversed(chunks) if c.usage)
                assert msgspec.structs.replace(usage, raw=None) == said.usage
                passed = b"".join(chunk.data for chunk in chunks)
                upstream.reply(sse_reply([passed]) if stream else json_reply(passed))
                got = await run_chat(provider, chat_request(stream=stream))
                assert (got.parts, got.reason) == (said.parts, said.reason), name

    async def test_an_answer_in_one_piece_is_the_same_without_a_generator(
        self, provider: Any, upstream: LoopbackUpstream
    ) -> None:
        request = self._native_request(chat_request())
        if not hasattr(provider, "native_whole"):
            pytest.skip("the adapter has no `native_whole`, which is optional")
        for said in self._supported_responses().values():
            upstream.reply(self._to_reply(said, stream=False))
            whole = await provider.native_whole(request)
            upstream.reply(self._to_reply(said, stream=False))
            assert [chunk async for chunk in provider.native(request)] == [whole]
        upstream.reply(json_reply(self.wire.error(429), 429, {"retry-after": "2"}))
        with pytest.raises(errors.RateLimited):
            await provider.native_whole(request)

    async def test_the_fast_lane_raises_the_same_errors(
        self, provider: Any, upstream: LoopbackUpstream
    ) -> None:
        upstream.reply(json_reply(self.wire.error(429), 429, {"retry-after": "2"}))
        with pytest.raises(errors.RateLimited):
            await self._collect_native(provider, chat_request(stream=True))
        upstream.reply(sse_reply([self.wire.stream_error()]))
        with pytest.raises(errors.Overloaded):
            await self._collect_native(provider, chat_request(stream=True))
        upstream.reply(json_reply(b"<html>"))
        with pytest.raises(errors.UpstreamProtocol):
            await self._collect_native(provider, chat_request(stream=True))
