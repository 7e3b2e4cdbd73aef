"""Signed item tokens: what was shown where, so that events cannot be made up."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal, TypeVar

import orjson

from hamlet.suggest.model import Chip, Chips, Link, Links, Suggestions

H = TypeVar("H", Links, Chips)
_MAC_BYTES = 12


@dataclass(frozen=True, slots=True)
class Shown:
    """One item as it was shown. `propensity` is the chance it had of standing there."""

    response: str
    item: str
    part: Literal["links", "chips"]
    tier: str
    position: int
    propensity: float = 1.0


class Signer:
    """Makes and reads tokens with HMAC-SHA-256."""

    def __init__(self, secret: bytes) -> None:
        self._secret = secret

    def sign(self, shown: Shown) -> str:
        """An opaque token."""
        fields = [shown.response, shown.item, shown.part, shown.tier]
        body = orjson.dumps([*fields, shown.position, shown.propensity])
        return base64.urlsafe_b64encode(self._mac(body) + body).decode().rstrip("=")

    def read(self, token: str) -> Shown | None:
        """What a token says; None if it is not ours."""
        try:
            raw = base64.b64decode(token + "=" * (-len(token) % 4), altchars=b"-_", validate=True)
        except (binascii.Error, ValueError):
            return None
        mac, body = raw[:_MAC_BYTES], raw[_MAC_BYTES:]
        if not hmac.compare_digest(mac, self._mac(body)):
            return None
        return Shown(*orjson.loads(body))

    def _mac(self, body: bytes) -> bytes:
        return hmac.digest(self._secret, body, hashlib.sha256)[:_MAC_BYTES]


def signed(shown: Suggestions, signer: Signer, propensity: Mapping[str, float]) -> Suggestions:
    """The same suggestions, each item with its token; `propensity` by item id, else 1."""
    links = shown.links and _with_tokens(shown.links, "links", shown.id, signer, propensity)
    chips = shown.chips and _with_tokens(shown.chips, "chips", shown.id, signer, propensity)
    return replace(shown, links=links, chips=chips)


def _with_tokens(
    half: H,
    part: Literal["links", "chips"],
    response: str,
    signer: Signer,
    propensity: Mapping[str, float],
) -> H:
    def token(item: Link | Chip) -> str:
        chance = propensity.get(item.id, 1.0)
        return signer.sign(Shown(response, item.id, part, half.tier, item.position, chance))

    items: Any = tuple(replace(item, token=token(item)) for item in half.items)
    return replace(half, items=items)
