"""Languages, words and sentences."""

import pytest

from hamlet.core.text import detect_language, split_sentences, tokenize


@pytest.mark.parametrize(
    ("text", "expected"),
    [("안녕 hello", "ko"), ("東京へ", "ja"), ("天気", "ja"), ("hi", "en"), ("123", None)],
)
def test_language_by_script(text: str, expected: str | None) -> None:
    assert detect_language(text) == expected


def test_words_of_alphabets_and_bigrams_of_other_scripts() -> None:
    assert tokenize("ＡＢＣ 지하철 水 Gdańsk が") == ["abc", "지하", "하철", "水", "gdansk", "が"]
    assert split_sentences("One. 둘! 三。\n") == ["One.", "둘!", "三。"]
