"""Counts are per call, tables compare them, and another commit can be counted."""

from importlib.metadata import distributions

import pytest

from loadtest.bench.instructions import (
    InstructionCount,
    _checkout,
    _median,
    _parse_dump,
    comparison_table,
    markdown_table,
)

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
    with pytest.raises(RuntimeError, match="no totals"):
        _parse_dump("x", "", 2)


def test_the_table_compares_with_its_first_row() -> None:
    rows = markdown_table(
        [InstructionCount("now", 1000, 4, 3, 2), InstructionCount("before", 1250.4, 5, 4, 3)]
    ).splitlines()
    assert rows[2:] == [
        "| now | 1,000 | 1.000x | 4 | 3 | 2 |",
        "| before | 1,250 | 1.250x | 5 | 4 | 3 |",
    ]


def test_another_commit_is_compared_by_ratios() -> None:
    now, before = InstructionCount("chat", 1010, 4, 3, 2), InstructionCount("chat", 1000, 5, 4, 4)
    assert comparison_table("v1", [(now, before)]).splitlines()[2:] == [
        "| chat | 1,010 | 1,000 | 1.010x | 0.800x | 0.750x | 0.500x |"
    ]


def test_the_median_is_taken_of_each_figure() -> None:
    rounds = [InstructionCount("chat", n, 10 - n, 2 * n, 1) for n in (1, 9, 4)]
    assert _median(rounds) == InstructionCount("chat", 4, 6, 8, 1)


def test_another_commit_is_unpacked_with_its_own_entry_points(tmp_path) -> None:
    source = _checkout("HEAD", tmp_path)
    assert (source / "hamlet/__init__.py").is_file()
    (found,) = distributions(path=[str(source)])
    assert found.name == "hamlet"
    kinds = {entry.name for entry in found.entry_points if entry.group == "hamlet.providers"}
    assert {"openai", "embedded"} <= kinds
