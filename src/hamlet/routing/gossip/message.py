"""What processes tell one another of deployments.

Waits are told as the seconds that remain: no two machines' clocks need agree, and none may jump.
"""

from __future__ import annotations

from typing import Annotated

import msgspec

from hamlet.routing.circuit_breaker import Reason

_Seconds = Annotated[float, msgspec.Meta(ge=0, le=86_400)]
_Count = Annotated[int, msgspec.Meta(ge=0, le=1 << 31)]


class Standing(msgspec.Struct, frozen=True, array_like=True):
    """One deployment's cooldown, breaker and slowness. `reason` None: the breaker is closed."""

    cooldown_s: _Seconds = 0.0
    penalty_s: _Seconds = 0.0
    slow: Annotated[float, msgspec.Meta(ge=1, le=10)] = 1.0
    epoch: _Count = 0
    reason: Reason | None = None
    opens_in_s: _Seconds = 0.0
    trips: _Count = 0


class Tidings(msgspec.Struct, frozen=True):
    """What one process has to say, by deployment id.

    `charges` are (cost, calls) since its last tidings, `levels` what is in the ledgers in all.
    """

    sender: str
    number: int
    charges: dict[str, tuple[float, float]] = {}
    standings: dict[str, Standing] = {}
    levels: dict[str, tuple[float, float]] = {}


_DECODER = msgspec.json.Decoder(Tidings)


def encode(tidings: Tidings) -> bytes:
    """As JSON."""
    return msgspec.json.encode(tidings)


def decode(data: bytes) -> Tidings | None:
    """From JSON; None if it is none of ours."""
    try:
        return _DECODER.decode(data)
    except msgspec.MsgspecError:
        return None
