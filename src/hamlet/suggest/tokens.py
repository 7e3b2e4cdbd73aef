"""Signed item tokens: what was shown where, so that events cannot be made up."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields, replace
from operator import attrgetter
from typing import Any, Literal, TypeVar

import orjson

from hamlet.suggest.model import Chip, Chips, Link, Links, Suggestions

H = TypeVar("H", Links, Chips)
_MAC_BYTES = 12
# An item less its token, which is its last field: `replace` would find the fields anew each time.
_unsigned: Mapping[type, Callable[[Any], tuple[Any, ...]]] = {
    kind: attrgetter(*(field.name for field in fields(kind)[:-1])) for kind in (Link, Chip)
}


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
        # A copy of this costs less than half of beginning with the secret.
        self._keyed = hmac.new(secret, digestmod=hashlib.sha256)

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
        mac = self._keyed.copy()
        mac.update(body)
        return mac.digest()[:_MAC_BYTES]


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
    def with_token(item: Any) -> Any:
        chance = propensity.get(item.id, 1.0)
        shown = Shown(response, item.id, part, half.tier, item.position, chance)
        return type(item)(*_unsigned[type(item)](item), signer.sign(shown))

    items: Any = tuple(map(with_token, half.items))
    return replace(half, items=items)
