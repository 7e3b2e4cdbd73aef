"""What is derived from a recorded response."""

import pytest

from hamlet.config.cutover import PriceConfig
from hamlet.migration.captured_response import CapturedResponse

JSON = [(b"content-type", b"application/json")]


def test_cost_follows_from_reported_tokens() -> None:
    price = PriceConfig(input=2.0, output=10.0)
    usage = b'{"reply": {"text": "hi"}, "usage": {"in": 1000, "out": 200}}'
    assert CapturedResponse(200, JSON, usage).cost_usd(price) == pytest.approx(0.004)
    assert CapturedResponse(200, [], b'{"reply": "hi"}').cost_usd(price) is None


@pytest.mark.parametrize(
    ("body", "low_quality"),
    [
        (b'{"reply": {"text": "Until midnight.", "finish": "stop"}}', False),
        (b'{"reply": {"text": " ", "finish": "stop"}}', True),
        (b'{"reply": {"text": "Until", "finish": "length"}}', True),
        (b'{"reply": {"text": "I can\'t help with that.", "finish": "stop"}}', True),
    ],
    ids=["answer", "empty", "truncated", "refusal"],
)
def test_empty_truncated_and_refused_responses_are_low_quality(body, low_quality) -> None:
    assert CapturedResponse(200, JSON, body).is_low_quality is low_quality


@pytest.mark.parametrize(
    ("status", "is_complete", "failure"),
    [(200, True, False), (404, True, False), (429, True, True), (500, True, True), (200, False, True)],
)  # fmt: skip
def test_server_failures(status, is_complete, failure) -> None:
    response = CapturedResponse(status, JSON, b"{}", is_complete=is_complete)
    assert response.is_server_failure is failure
