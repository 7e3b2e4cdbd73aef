"""What the error classes say of a retry."""

from hamlet.core import (
    errors,
)


def test_error_is_retryable_by_class_or_when_unsent() -> None:
    assert errors.RateLimited("x").repeatable
    assert not errors.UpstreamTimeout("x").repeatable
    assert errors.UpstreamTimeout("x", phase="connect").repeatable
