"""Helpers of the conformance classes: running a provider, and comparing responses."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from msgspec import structs

from hamlet.core import ChatEvent, ChatRequest, ChatResponse, collect
from hamlet.runtime import DEFAULT_TRANSPORT, HostRuntime, SilentLog
from hamlet.spi.settings import TransportName
from hamlet.testing.grammar import assert_valid_stream

__all__ = [
    "NoSilentOverrides",
    "SilentLog",
    "collect_events",
    "collect_response",
    "host_runtime",
    "run_chat",
    "without_vendor_details",
]


def host_runtime(transport: TransportName = DEFAULT_TRANSPORT) -> HostRuntime:
    """A runtime to construct providers with; the test closes it."""
    return HostRuntime(SilentLog(), transport)


async def collect_events(provider: Any, request: ChatRequest) -> list[ChatEvent]:
    """All events of a call, checked against the grammar."""
    events = [event async for event in provider.chat(request)]
    assert_valid_stream(events)
    return events


async def collect_response(events: list[ChatEvent]) -> ChatResponse:
    """The response that a list of events adds up to."""

    async def replay() -> Any:
        for event in events:
            yield event

    return await collect(replay())


async def run_chat(provider: Any, request: ChatRequest) -> ChatResponse:
    """The response to a call."""
    return await collect_response(await collect_events(provider, request))


def without_vendor_details(response: ChatResponse) -> ChatResponse:
    """The response without the fields whose wording is up to the vendor."""
    return replace(response, raw_reason=None, usage=structs.replace(response.usage, raw=None))


class NoSilentOverrides:
    """Refuses subclasses that override a test silently: mark it `xfail(reason=...)` instead."""

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        inherited = {
            name for base in cls.__mro__[1:] for name in vars(base) if name.startswith("test_")
        }
        for name in inherited & vars(cls).keys():
            if not _has_xfail_reason(vars(cls)[name]):
                raise TypeError(f"{cls.__name__}.{name} overrides a conformance test unexplained")


def _has_xfail_reason(test: Callable[..., Any]) -> bool:
    marks = getattr(test, "pytestmark", [])
    return any(mark.name == "xfail" and mark.kwargs.get("reason") for mark in marks)
