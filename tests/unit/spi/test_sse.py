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
