"""Languages, words and sentences."""

import pytest

from hamlet.core.text import detect_language, resolve_particles, split_sentences, tokenize


@pytest.mark.parametrize(
    ("text", "expected"),
    [("안녕 hello", "ko"), ("東京へ", "ja"), ("天気", "ja"), ("hi", "en"), ("123", None)],
)
def test_language_by_script(text: str, expected: str | None) -> None:
    assert detect_language(text) == expected


def test_words_of_alphabets_and_bigrams_of_other_scripts() -> None:
    assert tokenize("ＡＢＣ 지하철 水 Gdańsk が") == ["abc", "지하", "하철", "水", "gdansk", "が"]
    assert split_sentences("One. 둘! 三。\n") == ["One.", "둘!", "三。"]


@pytest.mark.parametrize(
    ("template", "resolved"),
    [
        ("서울{은/는}", "서울은"),
        ("부산{을/를}", "부산을"),
        ("제주{은/는}", "제주는"),
        ("서울{으로/로}", "서울로"),
        ("부산{으로/로}", "부산으로"),
        ("제주{으로/로}", "제주로"),
        ("3{은/는}", "3은"),
        ("7{으로/로}", "7로"),
        ("2{은/는}", "2는"),
        ("API{은/는}", "API는"),
        ("URL{으로/로}", "URL로"),
        ("Git{은/는}", "Git은"),
        ("東{은/는}", "東는"),
        ("그대로", "그대로"),
    ],
)
def test_particles_fit_the_preceding_character(template: str, resolved: str) -> None:
    assert resolve_particles(template) == resolved
