"""The messages that processes exchange about deployments.

Waits are given as remaining seconds, so that machines need no synchronized clocks.
"""

from __future__ import annotations

from typing import Annotated

import msgspec

from hamlet.routing.circuit_breaker import OpenReason

_Seconds = Annotated[float, msgspec.Meta(ge=0, le=86_400)]
_Count = Annotated[int, msgspec.Meta(ge=0, le=1 << 31)]


class DeploymentSnapshot(msgspec.Struct, frozen=True, array_like=True):
    """One deployment's cooldown, breaker and slowness. `reason` None: the breaker is closed."""

    cooldown_s: _Seconds = 0.0
    penalty_s: _Seconds = 0.0
    slowness: Annotated[float, msgspec.Meta(ge=1, le=10)] = 1.0
    epoch: _Count = 0
    reason: OpenReason | None = None
    open_remaining_s: _Seconds = 0.0
    trip_count: _Count = 0


class GossipMessage(msgspec.Struct, frozen=True, rename={"snapshots": "standings"}):
    """What one process publishes, by deployment id.

    `charges` are (cost, calls) since its last message, `levels` those that have not drained yet.
    Processes of several releases exchange messages, so the names in JSON stay as they are.
    """

    sender: str
    number: int
    charges: dict[str, tuple[float, float]] = {}
    snapshots: dict[str, DeploymentSnapshot] = {}
    levels: dict[str, tuple[float, float]] = {}


_DECODER = msgspec.json.Decoder(GossipMessage)


def encode(message: GossipMessage) -> bytes:
    """As JSON."""
    return msgspec.json.encode(message)


def decode(data: bytes) -> GossipMessage | None:
    """From JSON; None if it is not a valid message."""
    try:
        return _DECODER.decode(data)
    except msgspec.MsgspecError:
        return None
