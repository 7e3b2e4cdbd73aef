"""Secrets in texts."""

import pytest

from hamlet.core import (
    redact,
)


@pytest.mark.parametrize(
    "secret",
    ["Bearer abcdef123456", "sk-proj-0123456789", "key_abcdefgh1", "a1" * 20],
)
def test_secrets_are_redacted(secret: str) -> None:
    assert secret not in redact(f"refused: {secret} is wrong")
