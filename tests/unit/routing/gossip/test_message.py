"""Messages between processes as JSON."""

import pytest

from hamlet.routing.gossip.message import DeploymentSnapshot, GossipMessage, decode, encode


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"{",
        b"[]",
        b'{"sender":1,"number":1}',
        b'{"sender":"a","number":1,"standings":{"d":[-1]}}',
    ],
)
def test_malformed_message_is_ignored(data: bytes) -> None:
    assert decode(data) is None


def test_message_round_trip() -> None:
    snapshot = DeploymentSnapshot(1.5, 0.5, 2.0, 3, "quota", 900.0, 2)
    message = GossipMessage("a", 7, {"d": (1.5, 1.0)}, {"d": snapshot}, {"d": (3.0, 0.0)})
    assert decode(encode(message)) == message
