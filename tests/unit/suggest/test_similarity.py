"""Similarity of texts: echoes, near duplicates and grounding."""

from hamlet.suggest.similarity import are_similar, is_echo, is_grounded


def test_echoes_near_duplicates_and_ungrounded_texts_are_recognised() -> None:
    assert is_echo("서울 지하철 막차", ["서울 지하철 막차 "])
    assert are_similar("막차 시간 알아보기", "막차 시간 알아보기!")
    assert not are_similar("막차 시간 알아보기", "전기차 충전 요금")
    assert is_grounded("막차 놓쳤을 때", "서울 지하철 막차")
    assert not is_grounded("화성 여행", "서울 지하철 막차")
