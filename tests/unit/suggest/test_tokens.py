"""Item tokens: their form, and whose they are."""

import base64
import hmac

import pytest

from hamlet.suggest import TokenSigner
from hamlet.suggest.item_tokens import ShownItem

SHOWN = ShownItem("sg_1", "ln_1", "links", "web", 3, 0.25)


@pytest.mark.parametrize("secret", [b"short", b"s" * 64, b"long" * 40])
def test_a_token_is_the_fields_behind_their_hmac(secret: bytes) -> None:
    token = TokenSigner(secret).sign(SHOWN)
    body = b'["sg_1","ln_1","links","web",3,0.25]'
    raw = base64.urlsafe_b64decode(token + "=" * (-len(token) % 4))
    assert raw == hmac.digest(secret, body, "sha256")[:12] + body
    assert "=" not in token


def test_a_token_is_read_by_its_own_secret_alone() -> None:
    token = TokenSigner(b"ours").sign(SHOWN)
    assert TokenSigner(b"ours").verify(token) == SHOWN
    assert TokenSigner(b"theirs").verify(token) is None
