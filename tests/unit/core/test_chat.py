"""The nouns: parameters, features, folding, packing, redaction, languages."""

import math

import pytest

from hamlet.core import (
    Audio,
    ChatParams,
    ChatRequest,
    Document,
    Feature,
    Finished,
    FinishReason,
    Image,
    Message,
    Output,
    Reasoning,
    ReasoningDelta,
    Started,
    Text,
    TextDelta,
    Tool,
    ToolCall,
    ToolCallDelta,
    ToolResult,
    Usage,
    collect,
    errors,
    is_content,
    pack,
    redact,
    token_count,
    unpack,
)
from hamlet.core.text import detect_language, split_sentences, tokenize

END = Finished(FinishReason.STOP, Usage())


async def _collect(*events):
    async def stream():
        for event in events:
            yield event

    return await collect(stream())


async def test_a_fold_joins_deltas_and_their_meta() -> None:
    answer = await _collect(
        Started("1", "m"),
        ReasoningDelta(0, "hm"),
        ReasoningDelta(0, "", {"v": "signed"}),
        TextDelta(1, "a"),
        TextDelta(1, "b"),
        ToolCallDelta(2, "c1", "f", '{"x"'),
        ToolCallDelta(2, arguments=":1}"),
        END,
    )
    assert answer.parts == (
        Reasoning("hm", {"v": "signed"}),
        Text("ab"),
        ToolCall("c1", "f", '{"x":1}'),
    )
    assert answer.text == "ab"


async def test_a_fold_needs_a_start_and_an_end() -> None:
    for events in ([Started("1", "m")], [END]):
        with pytest.raises(ValueError, match="no start or no end"):
            await _collect(*events)


def test_what_a_caller_would_see_is_content() -> None:
    assert not is_content(Started("1", "m"))
    assert not is_content(TextDelta(0, ""))
    assert is_content(TextDelta(0, "x"))
    assert is_content(ToolCallDelta(0, "i", "n"))
    assert is_content(END)


def test_a_request_knows_what_it_needs() -> None:
    shown = ToolResult("c", (Image(url="https://x"),))
    user = Message("user", (Text("a"), Audio("d", "wav"), Document(url="u")))
    request = ChatRequest(
        "m",
        (user, Message("tool", (shown,))),
        tools=(Tool("f"),),
        output=Output("json"),
        params=ChatParams(n=2),
    )
    assert request.features == {
        Feature.IMAGES,
        Feature.AUDIO,
        Feature.DOCUMENTS,
        Feature.TOOLS,
        Feature.JSON,
        Feature.CHOICES,
    }
    assert ChatRequest("m", (), output=Output("schema")).features == {Feature.JSON_SCHEMA}
    assert user.text == "a"


def test_parameters_laid_over_nothing_or_by_nothing_stay() -> None:
    some, none = ChatParams(seed=1), ChatParams()
    assert some.over(none) is some
    assert none.over(some) is some
    assert some.capped(none) is some


def test_vectors_survive_packing() -> None:
    assert unpack(pack([1.0, -0.5, math.pi])) == pytest.approx([1.0, -0.5, math.pi])


@pytest.mark.parametrize(
    "secret",
    ["Bearer abcdef123456", "sk-proj-0123456789", "key_abcdefgh1", "a1" * 20],
)
def test_secrets_are_taken_out_of_text(secret: str) -> None:
    assert secret not in redact(f"refused: {secret} is wrong")


def test_error_is_retryable_by_class_or_when_unsent() -> None:
    assert errors.RateLimited("x").repeatable
    assert not errors.UpstreamTimeout("x").repeatable
    assert errors.UpstreamTimeout("x", phase="connect").repeatable


@pytest.mark.parametrize(
    ("text", "expected"),
    [("안녕 hello", "ko"), ("東京へ", "ja"), ("天気", "ja"), ("hi", "en"), ("123", None)],
)
def test_script_tells_the_language(text: str, expected: str | None) -> None:
    assert detect_language(text) == expected


def test_words_of_alphabets_and_pairs_of_the_rest() -> None:
    assert tokenize("ＡＢＣ 지하철 水 Gdańsk が") == ["abc", "지하", "하철", "水", "gdansk", "が"]
    assert split_sentences("One. 둘! 三。\n") == ["One.", "둘!", "三。"]


@pytest.mark.parametrize("odd", [None, "12", -1, 1.5, True, [], {}, 10**30])
def test_implausible_token_count_is_none(odd: object) -> None:
    assert token_count(odd) is None
    assert token_count(7) == 7
