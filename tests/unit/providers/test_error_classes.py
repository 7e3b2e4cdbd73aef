"""Error codes of vendors as error classes."""

import pytest

from hamlet.core import (
    errors,
)
from hamlet.providers.anthropic.errors import error_class as anthropic_classify
from hamlet.providers.openai.errors import error_class as openai_classify
from hamlet.providers.openai.errors import in_band_error


@pytest.mark.parametrize(
    ("classify", "status", "error", "kind"),
    [
        (openai_classify, 429, {"code": "insufficient_quota"}, errors.QuotaExhausted),
        (openai_classify, 400, {"code": "context_length_exceeded"}, errors.ContextTooLong),
        (
            openai_classify,
            400,
            {"innererror": {"code": "ResponsibleAIPolicyViolation"}},
            errors.ContentBlocked,
        ),
        (openai_classify, 429, {"message": "experiencing high demand"}, errors.Overloaded),
        (openai_classify, 400, {"code": "other"}, None),
        (
            anthropic_classify,
            429,
            {"details": {"error_code": "enforced_spend_limit_reached"}},
            errors.QuotaExhausted,
        ),
        (
            anthropic_classify,
            400,
            {"message": "Your credit balance is too low"},
            errors.QuotaExhausted,
        ),
        (
            anthropic_classify,
            400,
            {"message": "prompt is too long: 9 tokens"},
            errors.ContextTooLong,
        ),
        (anthropic_classify, 500, {"type": "overloaded_error"}, errors.Overloaded),
    ],
)
def test_codes_are_more_precise_than_the_status(classify, status, error, kind) -> None:
    assert classify(status, {"error": error}) is kind
    assert classify(status, {"error": "flat"}) is None


def test_in_band_error_is_classified_by_its_type() -> None:
    assert type(in_band_error({"error": "flat"})) is errors.UpstreamUnavailable
    assert type(in_band_error({"error": {"type": "authentication_error"}})) is errors.UpstreamAuth
