"""What vendors' headers say of capacity, and what they only seem to say."""

import pytest

from hamlet.core import Headroom
from hamlet.providers.anthropic.rate_limit_headers import parse_headroom as anthropic
from hamlet.providers.openai.rate_limit_headers import parse_headroom as openai

UTILISATION = "azure-openai-deployment-utilization"


@pytest.mark.parametrize(
    ("said", "meant"),
    [("83.5%", 0.835), ("83.5", 0.835), ("0%", 0.0), ("104.0%", 1.04)],
)
def test_azure_utilization_header(said: str, meant: float) -> None:
    told = openai({UTILISATION: said})
    assert told is not None
    assert told.utilisation == pytest.approx(meant)


@pytest.mark.parametrize("said", ["", "%", "nan", "inf", "-3%", "1e99", "full"])
def test_invalid_utilization_is_ignored(said: str) -> None:
    told = openai({UTILISATION: said})
    assert told is not None
    assert told.utilisation is None


def test_spillover_header() -> None:
    told = openai({"x-ms-spillover-from-deployment": "ptu-1"})
    assert told == Headroom(spilled=True)


@pytest.mark.parametrize("said", ["-1", "0", "", "soon", "1e9", "9" * 400])
def test_invalid_quota_counts_are_ignored(said: str) -> None:
    assert openai({"x-ratelimit-remaining-tokens": said}) == Headroom()
    assert anthropic({"anthropic-ratelimit-tokens-remaining": said}) is None


def test_quota_counts() -> None:
    wanted = Headroom(None, 900, 12)
    said = {"x-ratelimit-remaining-tokens": "900", "x-ratelimit-remaining-requests": "12"}
    assert openai(said) == wanted
    said = {
        "anthropic-ratelimit-tokens-remaining": "900",
        "anthropic-ratelimit-requests-remaining": "12",
    }
    assert anthropic(said) == wanted


def test_other_headers_are_ignored() -> None:
    assert openai({"content-type": "application/json"}) is None
    assert anthropic({}) is None
