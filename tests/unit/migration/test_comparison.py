"""Comparing two responses to one request: what breaks the contract, and what is tolerated."""

from datetime import date, timedelta

import orjson
import pytest

from hamlet.config.cutover import IgnoreConfig
from hamlet.migration.captured_response import CapturedResponse
from hamlet.migration.comparison import compare

JSON = [(b"content-type", b"application/json")]
SSE = [(b"content-type", b"text/event-stream; charset=utf-8")]
ANSWER_TEXT = "The subway in Seoul runs until about midnight on Sundays."
SIMILAR_TEXT = "On Sundays the subway in Seoul runs until about midnight."
UNRELATED_TEXT = "Ask your doctor which of these pills are yours, please, and when."
ANSWER_BODY = {
    "id": "r_1",
    "ts": 1,
    "reply": {"text": ANSWER_TEXT, "finish": "stop"},
    "usage": {"in": 100, "out": 10},
}


def json_response(**changes) -> CapturedResponse:
    """The sample answer with other fields; `...` removes a field."""
    body = {name: value for name, value in {**ANSWER_BODY, **changes}.items() if value is not ...}
    return CapturedResponse(200, JSON, orjson.dumps(body))


def stream_response(*texts: str, end: str = "done") -> CapturedResponse:
    frames = [b'event: token\ndata: {"t":%s}\n\n' % orjson.dumps(text) for text in texts]
    last = b'event: %s\ndata: {"finish":"stop","id":"r"}\n\n' % end.encode()
    return CapturedResponse(200, SSE, b": hi\n\n" + b"".join(frames) + last)


def reply(text: str, finish: str = "stop") -> dict:
    return {"text": text, "finish": finish}


@pytest.mark.parametrize(
    ("candidate", "verdict", "path"),
    [
        (json_response(id="r_2", ts=9), "equal", None),
        (json_response(reply=reply(SIMILAR_TEXT)), "tolerated", None),
        (json_response(usage={"in": 110, "out": 10}), "tolerated", "prompt tokens"),
        (json_response(reply=reply(UNRELATED_TEXT)), "content_drift", "similarity"),
        (json_response(reply=reply("")), "content_drift", "empty"),
        (
            json_response(reply=reply("지하철은 자정까지 다닙니다. " * 3)),
            "content_drift",
            "language",
        ),
        (
            json_response(reply=reply("I'm sorry, but I can't say when the subway in Seoul runs.")),
            "content_drift",
            "refusal",
        ),
        (json_response(reply=reply(ANSWER_TEXT * 9)), "content_drift", "length"),
        (json_response(reply=reply(ANSWER_TEXT, "length")), "contract_mismatch", "finish"),
        (json_response(usage=...), "contract_mismatch", "$.usage"),
        (json_response(usage={"in": "100", "out": 10}), "contract_mismatch", "$.usage.in"),
        (json_response(extra=1), "contract_mismatch", "$.extra"),
        (CapturedResponse(404, JSON, b"{}"), "contract_mismatch", "status"),
        (CapturedResponse(200, SSE, b""), "contract_mismatch", "header content-type"),
        (CapturedResponse(500, JSON, b"{}"), "candidate_failed", "status 500"),
        (CapturedResponse(200, JSON, b"{}", is_complete=False), "candidate_failed", None),
    ],
)
def test_verdicts(candidate, verdict, path) -> None:
    result = compare(json_response(), candidate)
    assert result.verdict == verdict, result
    if path is not None:
        assert path in result.paths
    assert not any("subway" in name for name in result.paths)


def test_streams_are_compared_by_events_not_by_chunks() -> None:
    control = stream_response(ANSWER_TEXT[:10], ANSWER_TEXT[10:])
    assert compare(control, stream_response(*ANSWER_TEXT)).verdict == "equal"
    assert "events" in compare(control, stream_response(ANSWER_TEXT, end="error")).paths
    assert compare(control, stream_response()).verdict == "contract_mismatch"


def test_legacy_failure_is_not_counted_against_new_arm() -> None:
    failed = CapturedResponse(502, JSON, b"{}")
    assert compare(failed, CapturedResponse(502, JSON, b"{}")).verdict == "control_failed"


def test_paths_in_which_hamlet1_differs_from_itself_are_tolerated() -> None:
    result = compare(json_response(), json_response(extra=1), noisy_paths=frozenset({"$.extra"}))
    assert result.verdict == "tolerated"


def test_ignore_rule_applies_until_it_expires() -> None:
    rule = IgnoreConfig(path="$.extra", owner="ann", reason="new field", expires=date(2026, 5, 1))
    for day, verdict in (
        (rule.expires, "tolerated"),
        (rule.expires + timedelta(days=1), "contract_mismatch"),
    ):
        result = compare(json_response(), json_response(extra=1), ignore=[rule], today=day)
        assert result.verdict == verdict


def test_content_mode_exact_requires_equal_text_and_off_ignores_it() -> None:
    similar, unrelated = (
        json_response(reply=reply(text)) for text in (SIMILAR_TEXT, UNRELATED_TEXT)
    )
    assert compare(json_response(), similar, content="exact").verdict == "contract_mismatch"
    assert compare(json_response(), unrelated, content="off").verdict == "equal"
