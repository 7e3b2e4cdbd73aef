"""The kit for those who write a provider plugin: a loopback upstream, a grammar, conformance.

The conformance classes need pytest and pytest-asyncio; the rest needs only hamlet.
"""

from contextlib import suppress

from hamlet.testing.grammar import assert_valid_stream
from hamlet.testing.loopback import Canned, LoopbackUpstream, Received, json_reply, sse_reply
from hamlet.testing.scripted import ScriptedProvider, says
from hamlet.testing.wire import Wire

with suppress(ImportError):
    # A failing conformance test shall say what differs.
    import pytest

    pytest.register_assert_rewrite(
        "hamlet.testing.conformance", "hamlet.testing.wire_conformance", "hamlet.testing.support"
    )

__all__ = [
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
