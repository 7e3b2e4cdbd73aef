"""Parameters laid over one another."""

from hamlet.core import (
    ChatParams,
)


def test_empty_parameters_change_nothing() -> None:
    some, none = ChatParams(seed=1), ChatParams()
    assert some.over(none) is some
    assert none.over(some) is some
    assert some.capped(none) is some
