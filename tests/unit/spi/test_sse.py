"""Server-sent events in reads of any size."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hamlet.core import errors
from hamlet.spi import (
    Forwarder,
    FrameReader,
    ProviderSettings,
    forward,
    parse_block,
    sse,
)
from hamlet.spi.sse import MAX_EVENT_BYTES
from hamlet.testing import sse_reply


def read_frames(data: bytes, size: int) -> list[bytes]:
    reader = FrameReader()
    return [
        frame.data
        for i in range(0, len(data), size)
        for block in reader.feed(data[i : i + size])
        if (frame := parse_block(block))
    ]


@pytest.mark.parametrize("newline", [b"\n", b"\r\n", b"\r"])
@pytest.mark.parametrize("size", [1, 2, 3, 1000])
def test_frames_do_not_depend_on_read_sizes(newline: bytes, size: int) -> None:
    text = "\ufeffid: 1\nevent: a\ndata: 안녕\n\n: comment\n\ndata: x\ndata: y\n\ndata: cut off"
    data = text.encode().replace(b"\n", newline)
    assert read_frames(data, size) == ["안녕".encode(), b"x\ny"]


@pytest.mark.parametrize(
    "text",
    [
        "data: a\n\r\ndata: b\r\n\ndata: c\r\r\ndata: d\n\n",
        "data: a\r\n\rdata: b\n\rdata: c\r\n\r\ndata: d\r\r",
        "data:a\n\ndata:b\n\n:x\n\ndata:c\n\ndata:d\n\n",
    ],
)
@pytest.mark.parametrize("size", [1, 2, 3, 100])
def test_mixed_line_ends(text: str, size: int) -> None:
    assert read_frames(text.encode(), size) == [b"a", b"b", b"c", b"d"]


@given(st.data())
def test_text_does_not_depend_on_reads_and_line_ends(data) -> None:
    lines = st.text(st.characters(exclude_characters="\r\n", codec="utf-8"), min_size=1)
    events = data.draw(st.lists(st.lists(lines, min_size=1, max_size=3), max_size=5))
    end = data.draw(st.sampled_from(["\n", "\r\n", "\r"]))
    sent = "".join(
        "".join(f"data: {line}{end}" for line in event) + end for event in events
    ).encode()
    cuts = sorted(data.draw(st.lists(st.integers(0, len(sent)), max_size=9)))
    reader, seen = FrameReader(), []
    for begin, stop in zip([0, *cuts], [*cuts, len(sent)], strict=True):
        seen += [parse_block(block) for block in reader.feed(sent[begin:stop])]
    got = [frame.data.decode() for frame in seen if frame]
    assert got == ["\n".join(event) for event in events]


async def test_the_last_event_needs_no_blank_line(upstream, host) -> None:
    upstream.reply(sse_reply([b"data: a\n\n", b"data: b"]))
    http = host.http(ProviderSettings(base_url=upstream.url))
    async with http.stream("POST", "/", json={}) as reply:
        assert [frame.data async for frame in sse(reply)] == [b"a", b"b"]
    async with http.stream("POST", "/", json={}) as reply:
        chunks = [chunk async for chunk in forward(reply, Forwarder())]
    assert b"".join(chunk.data for chunk in chunks) == b"data: a\n\ndata: b\n\n"


async def test_last_comment_without_blank_line_is_ignored(upstream, host) -> None:
    class Silent(Forwarder):
        def on_block(self, block: bytes) -> None:
            return

    upstream.reply(sse_reply([b"data: a\n\n", b": bye"]))
    http = host.http(ProviderSettings(base_url=upstream.url))
    async with http.stream("POST", "/", json={}) as reply:
        assert [frame.data async for frame in sse(reply)] == [b"a"]
    async with http.stream("POST", "/", json={}) as reply:
        assert [chunk async for chunk in forward(reply, Silent())] == []


@pytest.mark.parametrize("way", ["sse", "forward"])
async def test_idle_timeout_applies_per_read(upstream, host, way: str) -> None:
    upstream.reply(sse_reply([b": x\n\n", b": y\n\n"], end="hang"))
    http = host.http(ProviderSettings(base_url=upstream.url))
    async with http.stream("POST", "/", json={}) as reply:
        with pytest.raises(errors.UpstreamTimeout, match="silent"):
            if way == "sse":
                [frame async for frame in sse(reply, 0.1)]
            else:
                [chunk async for chunk in forward(reply, Forwarder(), 0.1)]
    upstream.reply(sse_reply([b": x\n\n"] * 9 + [b"data: y\n\n"], pause_s=0.03))
    async with http.stream("POST", "/", json={}) as reply:
        assert [frame.data async for frame in sse(reply, 0.2)] == [b"y"]


def test_an_event_must_be_utf_8() -> None:
    with pytest.raises(errors.UpstreamProtocol, match="UTF-8"):
        parse_block(b"data: \xff\n\n")


def test_event_over_a_megabyte_is_rejected() -> None:
    with pytest.raises(errors.UpstreamProtocol, match="1 MB"):
        FrameReader().feed(b"data: " + b"x" * MAX_EVENT_BYTES)


async def test_invalid_json_is_rejected(upstream, host) -> None:
    upstream.reply(sse_reply([b"data: {\n\n"]))
    http = host.http(ProviderSettings(base_url=upstream.url))
    async with http.stream("POST", "/", json={}) as reply:
        frames = [frame async for frame in sse(reply)]
    with pytest.raises(errors.UpstreamProtocol):
        _ = frames[0].json


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({}, None),
        ({"retry-after": "0"}, 0.05),
        ({"retry-after": "-1"}, None),
        ({"retry-after": "nan"}, None),
        ({"retry-after": "999999999"}, 900),
        ({"retry-after-ms": "x", "retry-after": "2"}, 2),
        ({"retry-after": "Tue, 24 Nov 2026 12:00:07 GMT"}, None),
    ],
)
def test_retry_after_parsing(headers: dict[str, str], seconds: float | None) -> None:
    assert retry_after(headers) == seconds


@pytest.mark.parametrize(
    ("status", "headers", "kind"),
    [
        (418, {}, errors.InvalidRequest),
        (599, {}, errors.UpstreamUnavailable),
        (302, {}, errors.UpstreamProtocol),
        (429, {"retry-after": "86400"}, errors.QuotaExhausted),
        (402, {}, errors.QuotaExhausted),
    ],
)
def test_a_status_alone_has_a_meaning(status: int, headers: dict[str, str], kind: type) -> None:
    assert type(upstream_error(status, {}, headers)) is kind


def test_only_faults_of_the_request_are_told_in_the_vendors_words() -> None:
    body = {"error": {"message": "field x is wrong"}}
    assert upstream_error(400, body).message == "field x is wrong"
    assert upstream_error(400, {"message": "flat"}).message == "flat"
    assert "field x" not in upstream_error(401, body).message


def test_an_adapter_sees_the_hosts_clock_and_log() -> None:
    log = SilentLog()
    host = HostRuntime(log)
    assert time.monotonic() <= host.now() <= time.monotonic()
    assert host.log is log


async def test_a_whole_url_goes_where_it_says_and_redirects_are_not_followed(
    upstream, host
) -> None:
    upstream.reply(Canned(302, {"location": "http://127.0.0.1:9/"}))
    http = host.http(ProviderSettings(base_url="http://127.0.0.1:9"))
    async with http.stream("GET", upstream.url + "/there") as reply:
        assert reply.status == 302
    assert upstream.requests[0].path == "/there"


async def test_a_body_over_the_limit_is_refused(upstream, host) -> None:
    upstream.reply(json_reply(b"x" * 100))
    http = host.http(ProviderSettings(base_url=upstream.url))
    async with http.stream("GET", "/") as reply:
        with pytest.raises(errors.UpstreamProtocol, match="over 10 bytes"):
            await reply.aread(10)


async def test_a_compressed_answer_is_refused(upstream, host) -> None:
    upstream.reply(json_reply(b"x", headers={"content-encoding": "gzip"}))
    http = host.http(ProviderSettings(base_url=upstream.url))
    async with http.stream("GET", "/") as reply:
        with pytest.raises(errors.UpstreamProtocol, match="compressed"):
            await reply.aread()


async def test_silence_times_out_before_and_within_an_answer(upstream, host) -> None:
    http = host.http(ProviderSettings(base_url=upstream.url, idle_timeout_s=0.05))
    upstream.reply(Canned(before="hang"))
    with pytest.raises(errors.UpstreamTimeout) as caught:
        async with http.stream("GET", "/"):
            pass
    assert caught.value.phase == "open"
    upstream.reply(Canned(pieces=[b"a"], end="hang"))
    async with http.stream("GET", "/") as reply:
        with pytest.raises(errors.UpstreamTimeout) as caught:
            await reply.aread()
    assert caught.value.phase == "stream"


async def test_a_connection_that_takes_too_long_has_sent_nothing(host) -> None:
    import socket

    with socket.socket() as full:
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        port = full.getsockname()[1]
        fillers = [socket.socket() for _ in range(4)]
        for filler in fillers:
            filler.setblocking(False)
            filler.connect_ex(("127.0.0.1", port))
        http = host.http(
            ProviderSettings(base_url=f"http://127.0.0.1:{port}", connect_timeout_s=0.1)
        )
        with pytest.raises(errors.UpstreamTimeout) as caught:
            async with http.stream("GET", "/"):
                pass
        assert caught.value.phase == "connect"
        for filler in fillers:
            filler.close()


async def test_an_answer_that_is_not_http_is_an_upstream_fault(host) -> None:
    async def babble(reader, writer):
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"SSH-2.0-hello\r\n\r\n")
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(babble, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    http = host.http(ProviderSettings(base_url=f"http://127.0.0.1:{port}"))
    with pytest.raises(errors.UpstreamProtocol):
        async with http.stream("GET", "/"):
            pass
    server.close()
    await server.wait_closed()


async def test_a_url_that_is_none_is_a_fault_of_config(host) -> None:
    http = host.http(ProviderSettings(base_url="no-scheme"))
    with pytest.raises(errors.ProviderError):
        async with http.stream("GET", "/"):
            pass


async def test_a_stream_may_end_without_saying_so(upstream, host) -> None:
    class Quiet(Forwarder):
        def on_block(self, block: bytes) -> None:
            if b"a" in block:
                self.emit(block)

    upstream.reply(sse_reply([b"data: a\n\n", b": x\n\n"], pause_s=0.02))
    http = host.http(ProviderSettings(base_url=upstream.url))
    async with http.stream("GET", "/") as reply:
        assert [chunk.data async for chunk in forward(reply, Quiet())] == [b"data: a\n\n"]


async def test_an_error_page_counts_by_its_status(upstream, host) -> None:
    upstream.reply(Canned(503, pieces=[b"<html>busy</html>"]))
    http = host.http(ProviderSettings(base_url=upstream.url))
    async with http.stream("GET", "/") as reply:
        with pytest.raises(errors.Overloaded):
            await raise_for_upstream(reply)


async def test_frames_are_forwarded_per_read_even_before_a_fault(upstream, host) -> None:
    class Picky(Forwarder):
        def on_block(self, block: bytes) -> None:
            if b"bad" in block:
                raise errors.Overloaded("bad")
            super().on_block(block)

    upstream.reply(sse_reply([b"data: a\n\ndata: bad\n\n"]))
    http = host.http(ProviderSettings(base_url=upstream.url))
    seen: list[NativeChunk] = []
    async with http.stream("GET", "/") as reply:
        with pytest.raises(errors.Overloaded):
            async for chunk in forward(reply, Picky()):
                seen.append(chunk)
    assert [chunk.data for chunk in seen] == [b"data: a\n\n"]
