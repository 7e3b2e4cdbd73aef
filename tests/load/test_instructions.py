"""What callgrind counted is told by call, and another state of the repository can be counted."""

import pytest

from loadtest.bench.instructions import InstructionCount, _checkout, _parse_dump, markdown_table

DUMP = """version: 1
events: Ir Dr Dw I1mr D1mr D1mw ILmr DLmr DLmw
fn=(1) main
1 400 10 10 4 3 2 1 1 1

totals: 400 10 10 4 3 2 1 1 1
"""


def test_totals_are_reported_per_call() -> None:
    assert _parse_dump("x", DUMP, 2) == InstructionCount(
        "x", 200, code_misses=2, data_misses=2.5, second_level_misses=1.5
    )
    with pytest.raises(RuntimeError, match="not what it was"):
        _parse_dump("x", "", 2)


def test_the_table_compares_with_its_first_row() -> None:
    rows = markdown_table(
        [InstructionCount("now", 1000, 4, 3, 2), InstructionCount("before", 1250.4, 5, 4, 3)]
    ).splitlines()
    assert rows[2:] == [
        "| now | 1,000 | 1.000x | 4 | 3 | 2 |",
        "| before | 1,250 | 1.250x | 5 | 4 | 3 |",
    ]


def test_another_state_is_unpacked_as_it_was(tmp_path) -> None:
    assert (_checkout("HEAD", tmp_path) / "hamlet/__init__.py").is_file()
