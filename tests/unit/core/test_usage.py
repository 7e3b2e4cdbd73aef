"""Token counts of vendors."""

import pytest

from hamlet.core import (
    token_count,
)


@pytest.mark.parametrize("odd", [None, "12", -1, 1.5, True, [], {}, 10**30])
def test_implausible_token_count_is_none(odd: object) -> None:
    assert token_count(odd) is None
    assert token_count(7) == 7
