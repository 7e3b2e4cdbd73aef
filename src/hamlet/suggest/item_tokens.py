"""Signed item tokens: they prove which item was shown where, so that events cannot be forged."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
from collections.abc import Callable, Mapping
from dataclasses import fields
from operator import attrgetter
from typing import Any, Literal, NamedTuple

import orjson

from hamlet.suggest.model import Chip, Link
from hamlet.suggest.section_result import SectionT

_MAC_BYTES = 12
_URL_SAFE = bytes.maketrans(b"+/", b"-_")
# All fields but the last, the token. `dataclasses.replace` would look them up for every item.
_unsigned_fields: Mapping[type, Callable[[Any], tuple[Any, ...]]] = {
    kind: attrgetter(*(field.name for field in fields(kind)[:-1])) for kind in (Link, Chip)
}


class ShownItem(NamedTuple):
    """One item as it was shown. `propensity` was its probability of being shown there."""

    response: str
    item: str
    part: Literal["links", "chips"]
    tier: str
    position: int
    propensity: float = 1.0


class TokenSigner:
    """Signs and verifies tokens with HMAC-SHA-256 (RFC 2104), truncated to 96 bits."""

    def __init__(self, secret: bytes) -> None:
        # Copying this object costs less than half of creating one with the secret.
        self._hmac = hmac.new(secret, digestmod=hashlib.sha256)

    def sign(self, shown: ShownItem) -> str:
        """A token, opaque to clients, in URL-safe base64 without padding."""
        body = orjson.dumps([*shown])
        encoded = binascii.b2a_base64(self._mac(body) + body, newline=False)
        return encoded.translate(_URL_SAFE).rstrip(b"=").decode()

    def verify(self, token: str) -> ShownItem | None:
        """The item of a token; None if this secret did not sign it."""
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
    section: SectionT,
    part: Literal["links", "chips"],
    response: str,
    signer: TokenSigner,
    propensity: Mapping[str, float],
) -> SectionT:
    """The section, each item with its token. `propensity` is by item id, 1 without an entry."""

    def with_token(item: Any) -> Any:
        chance = propensity.get(item.id, 1.0)
        shown = ShownItem(response, item.id, part, section.tier, item.position, chance)
        return type(item)(*_unsigned_fields[type(item)](item), signer.sign(shown))

    items: Any = tuple(map(with_token, section.items))
    return type(section)(section.status, section.tier, items)
