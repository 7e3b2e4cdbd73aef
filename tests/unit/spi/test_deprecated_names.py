"""Public names of the release before: each one works, and warns once per process."""

from __future__ import annotations

import asyncio
import warnings
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

import hamlet.core
import hamlet.spi
import hamlet.testing
from hamlet.core import ChatParams, NativeChunk, deprecation
from hamlet.core.errors import UpstreamTimeout
from hamlet.spi import (
    Forwarder,
    FrameReader,
    IdleTimeout,
    forward,
    parse_positive_int,
    require_event_stream,
)

# As exported at b1e5b88.
CORE_NAMES = [
    "ALL_FEATURES",
    "NO_TERMS",
    "TEXT_OUTPUT",
    "Audio",
    "ChatEvent",
    "ChatParams",
    "ChatRequest",
    "ChatResponse",
    "Delta",
    "Document",
    "EmbeddingRequest",
    "EmbeddingResponse",
    "Feature",
    "FinishReason",
    "Finished",
    "Headroom",
    "Image",
    "Message",
    "Meta",
    "ModelCard",
    "NamedTool",
    "NativeChunk",
    "NativeRequest",
    "Output",
    "Part",
    "Price",
    "Reasoning",
    "ReasoningDelta",
    "Role",
    "Started",
    "Terms",
    "Text",
    "TextDelta",
    "Tool",
    "ToolCall",
    "ToolCallDelta",
    "ToolChoice",
    "ToolResult",
    "Usage",
    "collect",
    "errors",
    "fold",
    "is_content",
    "pack",
    "redact",
    "token_count",
    "unpack",
    "with_headroom",
]
SPI_NAMES = [
    "API_VERSION",
    "Deadline",
    "Forwarder",
    "Frame",
    "FrameReader",
    "Log",
    "Provider",
    "ProviderSettings",
    "Reply",
    "Runtime",
    "SupportsChat",
    "SupportsClose",
    "SupportsEmbeddings",
    "SupportsListing",
    "SupportsNative",
    "SupportsNativeWhole",
    "SupportsProbe",
    "Transport",
    "Watchdog",
    "cards_from",
    "counted",
    "forward",
    "need_events",
    "operations",
    "parse_block",
    "raise_for_upstream",
    "retry_after",
    "running_wheel",
    "sse",
    "upstream_error",
]
TESTING_NAMES = [
    "Canned",
    "LoopbackUpstream",
    "Received",
    "ScriptedProvider",
    "Wire",
    "assert_valid_stream",
    "json_reply",
    "says",
    "sse_reply",
]


@pytest.fixture(autouse=True)
def no_warning_yet(monkeypatch) -> None:
    monkeypatch.setattr(deprecation, "_warned", set())


def warnings_of(action: Callable[[], Any]) -> list[str]:
    """The deprecation warnings of an action that runs twice, raised in this file."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        action()
        action()
    assert {each.filename for each in caught} <= {__file__}, "the warning names the plugin's line"
    assert all(each.category is DeprecationWarning for each in caught)
    return [str(each.message) for each in caught]


@pytest.mark.parametrize(
    ("module", "names"),
    [
        (hamlet.core, CORE_NAMES),
        (hamlet.spi, SPI_NAMES),
        (hamlet.testing, TESTING_NAMES),
    ],
)
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_every_old_name_is_still_exported(module, names: list[str]) -> None:
    assert [name for name in names if not hasattr(module, name)] == []


@pytest.mark.parametrize(
    ("old", "new"), [("counted", parse_positive_int), ("need_events", require_event_stream)]
)
def test_a_renamed_function_is_the_same_function(old: str, new: object) -> None:
    assert len(warnings_of(lambda: getattr(hamlet.spi, old))) == 1
    assert getattr(hamlet.spi, old) is new


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'wheel_of_time'"):
        _ = hamlet.spi.wheel_of_time


async def test_watchdog_is_an_idle_timeout_that_is_fed() -> None:
    assert warnings_of(lambda: hamlet.spi.Watchdog) == [
        "hamlet.spi.Watchdog is now IdleTimeout, with `reset` for `fed`; "
        "the old name works until the next release"
    ]
    watchdog = hamlet.spi.Watchdog(0.2)
    assert isinstance(watchdog, IdleTimeout)
    for _ in range(2):
        async with watchdog:
            await asyncio.sleep(0.12)
        watchdog.fed()
    with pytest.raises(UpstreamTimeout):
        async with watchdog:
            await asyncio.sleep(5)


def test_the_rest_of_a_frame_reader() -> None:
    reader = FrameReader()
    reader.feed(b"data: x")
    rest: list[bytes] = []
    assert len(warnings_of(lambda: rest.append(reader.rest()))) == 1
    assert rest == [b"data: x\n\n", b""]


def test_the_parameters_that_are_sent() -> None:
    params = ChatParams(seed=1, user=None)
    sent: list[dict[str, Any]] = []
    assert len(warnings_of(lambda: sent.append(params.sent()))) == 1
    assert sent[0] == params.wire_fields() == {"seed": 1}


class ReplyStub:
    """A reply that arrives in one read."""

    def __init__(self, data: bytes) -> None:
        self._data = data

    async def chunks(self) -> AsyncIterator[bytes]:
        yield self._data


async def test_a_forwarder_that_overrides_the_old_names() -> None:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")

        class OldForwarder(Forwarder):
            def look(self, block: bytes) -> None:
                if block.startswith(b"data: skip"):
                    return
                self.seen["model"] = "m"
                super().look(block)
                self.keep(block)

            def closing(self) -> NativeChunk | None:
                return super().closing() or self.take() or NativeChunk(b"end")

        reply: Any = ReplyStub(b"data: skip\n\ndata: a\n\ndata: b\n\n")
        chunks = [chunk async for chunk in forward(reply, OldForwarder())]

    assert [chunk.data for chunk in chunks] == [b"data: a\n\n" * 2 + b"data: b\n\n" * 2, b"end"]
    assert chunks[0].model == "m"
    assert [str(each.message).split(";")[0] for each in caught] == [
        "Forwarder.look is now on_block",
        "Forwarder.closing is now final_chunk",
        "Forwarder.seen is now chunk_fields",
        "Forwarder.keep is now emit",
        "Forwarder.take is now pop_chunk",
    ]
    assert {each.filename for each in caught} == {__file__}


def test_new_names_warn_of_nothing() -> None:
    def define() -> None:
        class NewForwarder(Forwarder):
            def on_block(self, block: bytes) -> None:
                self.chunk_fields["model"] = "m"

        NewForwarder().on_block(b"")

    assert warnings_of(define) == []
