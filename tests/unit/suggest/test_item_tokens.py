"""Item tokens: their format, and the secret that verifies them."""

import base64
import hmac

import pytest

from hamlet.suggest import TokenSigner
from hamlet.suggest.item_tokens import ShownItem

SHOWN = ShownItem("sg_1", "ln_1", "links", "web", 3, 0.25)


@pytest.mark.parametrize("secret", [b"short", b"s" * 64, b"long" * 40])
def test_token_is_the_hmac_and_the_fields(secret: bytes) -> None:
    token = TokenSigner(secret).sign(SHOWN)
    body = b'["sg_1","ln_1","links","web",3,0.25]'
    raw = base64.urlsafe_b64decode(token + "=" * (-len(token) % 4))
    assert raw == hmac.digest(secret, body, "sha256")[:12] + body
    assert "=" not in token


def test_token_is_verified_by_its_own_secret_only() -> None:
    token = TokenSigner(b"own").sign(SHOWN)
    assert TokenSigner(b"own").verify(token) == SHOWN
    assert TokenSigner(b"other").verify(token) is None
