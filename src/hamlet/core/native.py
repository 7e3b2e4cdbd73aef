"""The fast lane's nouns: a call whose caller and vendor speak the same dialect."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from msgspec import Struct, field

from hamlet.core.headroom import Headroom
from hamlet.core.params import ChatParams
from hamlet.core.terms import NO_TERMS, Terms
from hamlet.core.usage import FinishReason, Usage


class NativeRequest(Struct, frozen=True):
    """The caller's own JSON object, to be sent on with as few changes as possible.

    `fields` maps each top-level key to its undecoded JSON bytes. `model` is the upstream id.
    `overrides` are the portable parameters that defaults or caps changed, and `dropped` names the
    portable parameters and extra keys that the deployment cannot take: the adapter knows their
    keys on its wire.
    """

    model: str
    fields: Mapping[str, Any]
    stream: bool
    overrides: ChatParams = field(default_factory=ChatParams)
    dropped: frozenset[str] = frozenset()
    terms: Terms = NO_TERMS


class NativeChunk(Struct, frozen=True):
    """Bytes to forward as they are: whole SSE frames, or one whole JSON body.

    `content` says that a caller would see something (the commit point), `pieces` how many tokens
    that is at least; `finish`, `usage` and `model` are set when the bytes carried them; `end` when
    the vendor said the stream is whole.
    `headroom` is what the answer's headers told; it may come alone, with no bytes.
    """

    data: bytes
    content: bool = False
    finish: FinishReason | None = None
    usage: Usage | None = None
    model: str | None = None
    end: bool = False
    pieces: int = 0
    headroom: Headroom | None = None
