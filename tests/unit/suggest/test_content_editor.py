"""The check of imported chips, against the shipped ones."""

from hamlet.suggest.content import load_content
from hamlet.suggest.content_editor import check_chip


def test_every_shipped_chip_passes_the_check() -> None:
    for row in load_content().chips:
        if "site" not in row.topics and "slot" not in row.topics:
            assert check_chip(row) is None, row.id
