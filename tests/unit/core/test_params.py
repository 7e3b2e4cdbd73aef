"""Parameters laid over one another."""

from hamlet.core import (
    ChatParams,
)


def test_empty_parameters_change_nothing() -> None:
    some, none = ChatParams(seed=1), ChatParams()
    assert some.over(none) is some
    assert none.over(some) is some
    assert some.capped(none) is some


def test_set_parameters_win_and_extras_merge() -> None:
    base = ChatParams(seed=1, temperature=0.5, extra={"a": 1, "b": 1})
    merged = ChatParams(temperature=None, extra={"b": 2}).over(base)
    assert merged.wire_fields() == {"seed": 1}
    assert merged.extra == {"a": 1, "b": 2}


def test_caps_bound_numbers_and_set_max_tokens() -> None:
    caps = ChatParams(max_tokens=10, temperature=0.5)
    assert ChatParams(temperature=0.9).capped(caps).wire_fields() == {
        "max_tokens": 10,
        "temperature": 0.5,
    }
    within = ChatParams(max_tokens=5)
    assert within.capped(caps) is within


def test_parameters_without_some_names() -> None:
    assert ChatParams(seed=1, top_k=2).without(frozenset({"seed"})).wire_fields() == {"top_k": 2}
    assert ChatParams().wire_fields() == {}
