"""The chip rules for the bank, for recorded responses of a model, and for a hostile model."""

import subprocess
import sys

import pytest

from hamlet.suggest.content import shipped_chips, shipped_links
from support.paths import ROOT


def test_every_tier_satisfies_chip_rules() -> None:
    harness = [sys.executable, "-m", "loadtest.bench.chip_quality"]
    done = subprocess.run(harness, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    for tier in ("embedded", "recorded", "hostile"):
        assert f"\n{tier}" in f"\n{done.stdout}"


@pytest.mark.parametrize("lang", ["ko", "en", "ja"])
def test_content_is_complete_in_each_language(lang: str) -> None:
    links, chips = shipped_links(), shipped_chips()
    assert len(links) >= 300
    assert len(chips) >= 300
    assert sum(row.site_lang == lang for row in links) >= 75
    for row in links:
        assert row.title[lang]
        assert row.text[lang]
        assert row.tags[lang]
    for row in chips:
        assert row.text[lang]
        assert row.prompt[lang]
