"""The kit for authors of provider plugins: loopback upstream, stream grammar, conformance tests.

The conformance classes need pytest and pytest-asyncio; the rest needs only hamlet.
"""

from contextlib import suppress

from hamlet.testing.grammar import assert_valid_stream
from hamlet.testing.loopback import Canned, LoopbackUpstream, Received, json_reply, sse_reply
from hamlet.testing.scripted import ScriptedProvider, says
from hamlet.testing.wire import Wire

with suppress(ImportError):
    # Assertion rewriting makes a failing conformance test show the difference.
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
