"""Templates of the bank: Korean particles follow the word that fills the slot."""

import pytest

from hamlet.suggest.chips.bank import _fill_slot
from hamlet.suggest.model import Draft


@pytest.mark.parametrize(
    ("template", "value", "filled"),
    [
        ("{t}{은/는} 무엇", "홈택스", "홈택스는 무엇"),
        ("{t}{은/는} 무엇", "기상청", "기상청은 무엇"),
        ("{t}{으로/로} 가기", "서울", "서울로 가기"),
        ("{t}{으로/로} 가기", "부산", "부산으로 가기"),
        ("{t}{을/를} 쓰기", "GitHub", "GitHub을 쓰기"),
        ("{t}{을/를} 쓰기", "Google", "Google를 쓰기"),
        ("{t}{이/가} 맞다", "번호 3", "번호 3이 맞다"),
        ("{t}{이/가} 맞다", "번호 2", "번호 2가 맞다"),
        ("{t}{으로/로} 가기", "번호 7", "번호 7로 가기"),
        ("{t}{을/를} 보기", "東京", "東京를 보기"),
    ],
)
def test_particles_follow_the_filled_word(template: str, value: str, filled: str) -> None:
    draft = _fill_slot(Draft(template, template, "howto"), "{t}", value, "ko")
    assert (draft.text, draft.prompt) == (filled, filled)
