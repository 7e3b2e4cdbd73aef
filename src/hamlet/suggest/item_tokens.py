"""Signed item tokens: what was shown where, so that events cannot be made up."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
from collections.abc import Callable, Mapping
from dataclasses import fields
from operator import attrgetter
from typing import Any, Literal, NamedTuple, TypeVar

import orjson

from hamlet.suggest.model import Chip, Chips, Link, Links

H = TypeVar("H", Links, Chips)
_MAC_BYTES = 12
_URL_SAFE = bytes.maketrans(b"+/", b"-_")
# An item less its token, which is its last field: `replace` would find the fields anew each time.
_unsigned_fields: Mapping[type, Callable[[Any], tuple[Any, ...]]] = {
    kind: attrgetter(*(field.name for field in fields(kind)[:-1])) for kind in (Link, Chip)
}


class ShownItem(NamedTuple):
    """One item as it was shown. `propensity` is the chance it had of standing there."""

    response: str
    item: str
    part: Literal["links", "chips"]
    tier: str
    position: int
    propensity: float = 1.0


class TokenSigner:
    """Makes and reads tokens with HMAC-SHA-256."""

    def __init__(self, secret: bytes) -> None:
        # A copy of this costs less than half of beginning with the secret.
        self._hmac = hmac.new(secret, digestmod=hashlib.sha256)

    def sign(self, shown: ShownItem) -> str:
        """An opaque token."""
        body = orjson.dumps([*shown])
        encoded = binascii.b2a_base64(self._mac(body) + body, newline=False)
        return encoded.translate(_URL_SAFE).rstrip(b"=").decode()

    def verify(self, token: str) -> ShownItem | None:
        """What a token says; None if it is not ours."""
        try:
            raw = base64.b64decode(token + "=" * (-len(token) % 4), altchars=b"-_", validate=True)
        except (binascii.Error, ValueError):
            return None
        mac, body = raw[:_MAC_BYTES], raw[_MAC_BYTES:]
        if not hmac.compare_digest(mac, self._mac(body)):
            return None
        return ShownItem(*orjson.loads(body))

    def _mac(self, body: bytes) -> bytes:
        mac = self._hmac.copy()
        mac.update(body)
        return mac.digest()[:_MAC_BYTES]


def with_tokens(
    section: H,
    part: Literal["links", "chips"],
    response: str,
    signer: TokenSigner,
    propensity: Mapping[str, float],
) -> H:
    """The same half, each item with its token; `propensity` by item id, else 1."""

    def with_token(item: Any) -> Any:
        chance = propensity.get(item.id, 1.0)
        shown = ShownItem(response, item.id, part, section.tier, item.position, chance)
        return type(item)(*_unsigned_fields[type(item)](item), signer.sign(shown))

    items: Any = tuple(map(with_token, section.items))
    return type(section)(section.status, section.tier, items)
