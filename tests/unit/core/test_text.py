"""Text helpers: Korean particles."""

import pytest

from hamlet.core.text import resolve_particles


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("홈택스{은/는} 무엇", "홈택스는 무엇"),
        ("기상청{은/는} 무엇", "기상청은 무엇"),
        ("서울{으로/로} 가기", "서울로 가기"),
        ("부산{으로/로} 가기", "부산으로 가기"),
        ("GitHub{을/를} 쓰기", "GitHub을 쓰기"),
        ("Google{을/를} 쓰기", "Google를 쓰기"),
        ("번호 3{이/가} 맞다", "번호 3이 맞다"),
        ("번호 2{이/가} 맞다", "번호 2가 맞다"),
        ("번호 7{으로/로} 가기", "번호 7로 가기"),
        ("東京{을/를} 보기", "東京를 보기"),
    ],
)
def test_particles_follow_the_preceding_sound(text: str, expected: str) -> None:
    assert resolve_particles(text) == expected
