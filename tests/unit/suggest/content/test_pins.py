"""Pins: stored in order, matched by context."""

from hamlet.suggest.content import Pin, find_pin, load_content, save_pins


def test_pins_are_stored_and_the_first_match_applies(tmp_path) -> None:
    pins = [Pin(["a"], query="서울  "), Pin(["b"], lang="ko", surface="home"), Pin(["c"])]
    save_pins(tmp_path, pins)
    stored = load_content(tmp_path).pins
    assert stored == pins
    assert find_pin(stored, "ko", "search", "서울").links == ["a"]
    assert find_pin(stored, "ko", "home", "").links == ["b"]
    assert find_pin(stored, "en", "home", "").links == ["c"]
