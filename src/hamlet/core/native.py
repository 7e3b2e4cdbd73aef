"""Types of the fast lane: a call whose caller and vendor speak the same dialect."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from msgspec import Struct, field

from hamlet.core.headroom import Headroom
from hamlet.core.params import ChatParams
from hamlet.core.terms import NO_TERMS, Terms
from hamlet.core.usage import FinishReason, Usage


class NativeRequest(Struct, frozen=True):
    """The caller's own JSON object, to be forwarded with as few changes as possible.

    `fields` maps each top-level key to its undecoded JSON bytes. `model` is the upstream id.
    `overrides` are the portable parameters that defaults or caps changed, and `dropped` names the
    portable parameters and extra keys that the deployment does not support: the adapter knows their
    names in its vendor's API.
    """

    model: str
    fields: Mapping[str, Any]
    stream: bool
    overrides: ChatParams = field(default_factory=ChatParams)
    dropped: frozenset[str] = frozenset()
    terms: Terms = NO_TERMS


class NativeChunk(Struct, frozen=True):
    """Bytes to forward unchanged: complete SSE frames, or one complete JSON body.

    `content`: the caller would see something, which is the commit point; `pieces` is a lower bound
    of its tokens. `finish`, `usage` and `model` are set if the bytes contain them, `end` once the
    vendor has ended the stream. `headroom` comes from the reply's headers, perhaps without bytes.
    """

    data: bytes
    content: bool = False
    finish: FinishReason | None = None
    usage: Usage | None = None
    model: str | None = None
    end: bool = False
    pieces: int = 0
    headroom: Headroom | None = None
