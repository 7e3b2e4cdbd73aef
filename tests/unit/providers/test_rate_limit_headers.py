"""Headroom from the headers of replies."""

import pytest

from hamlet.core import Headroom
from hamlet.providers.anthropic.rate_limit_headers import parse_headroom as anthropic
from hamlet.providers.openai.rate_limit_headers import parse_headroom as openai

UTILISATION = "azure-openai-deployment-utilization"


@pytest.mark.parametrize(
    ("value", "expected"),
    [("83.5%", 0.835), ("83.5", 0.835), ("0%", 0.0), ("104.0%", 1.04)],
)
def test_azure_utilization_header(value: str, expected: float) -> None:
    headroom = openai({UTILISATION: value})
    assert headroom is not None
    assert headroom.utilisation == pytest.approx(expected)


@pytest.mark.parametrize("value", ["", "%", "nan", "inf", "-3%", "1e99", "full"])
def test_invalid_utilization_is_ignored(value: str) -> None:
    headroom = openai({UTILISATION: value})
    assert headroom is not None
    assert headroom.utilisation is None


def test_spillover_header() -> None:
    headroom = openai({"x-ms-spillover-from-deployment": "ptu-1"})
    assert headroom == Headroom(spilled=True)


@pytest.mark.parametrize("value", ["-1", "0", "", "soon", "1e9", "9" * 400])
def test_invalid_quota_counts_are_ignored(value: str) -> None:
    assert openai({"x-ratelimit-remaining-tokens": value}) == Headroom()
    assert anthropic({"anthropic-ratelimit-tokens-remaining": value}) is None


def test_quota_counts() -> None:
    wanted = Headroom(None, 900, 12)
    value = {"x-ratelimit-remaining-tokens": "900", "x-ratelimit-remaining-requests": "12"}
    assert openai(value) == wanted
    value = {
        "anthropic-ratelimit-tokens-remaining": "900",
        "anthropic-ratelimit-requests-remaining": "12",
    }
    assert anthropic(value) == wanted


def test_other_headers_are_ignored() -> None:
    assert openai({"content-type": "application/json"}) is None
    assert anthropic({}) is None
