"""Every decision has a number, a status and a date, and is in the index with them."""

import re
from pathlib import Path

import pytest

from support.paths import ROOT

DOCS = ROOT / "docs"
ADRS = sorted((DOCS / "adr").glob("[0-9]*.md"))
_HEAD = re.compile(
    r"# (?P<number>\d+)\. (?P<title>.+)\n\n\*\*Status:\*\* (?P<status>\w+)[^\n]*"
    r"\*\*Date:\*\* (?P<date>\d{4}-\d\d-\d\d)\.\n\n## Context\n"
)


@pytest.mark.parametrize("page", ADRS, ids=lambda page: page.stem)
def test_a_decision_has_number_status_date_and_a_row_in_the_index(page: Path) -> None:
    head = _HEAD.match(page.read_text("utf-8"))
    assert head, f"{page.name} does not begin with title, status, date and context"
    assert int(head["number"]) == int(page.name[:4])
    row = (
        f"| {head['number']} | [{head['title']}]({page.name}) | {head['status']} | {head['date']} |"
    )
    assert row in (DOCS / "adr/README.md").read_text("utf-8").splitlines()


def test_the_index_accounts_for_every_number() -> None:
    index = (DOCS / "adr/README.md").read_text("utf-8")
    listed = [int(number) for number in re.findall(r"^\| (\d+) \|", index, re.MULTILINE)]
    assert listed == list(range(1, max(int(page.name[:4]) for page in ADRS) + 1))


def test_every_archived_result_is_dated_and_every_link_between_results_leads_somewhere() -> None:
    archived = [p for p in (DOCS / "results/archive").glob("*.md") if p.stem != "index"]
    assert archived
    assert all(re.match(r"\d{4}-\d\d-\d\d-", page.name) for page in archived)
    for page in [DOCS / "results/README.md", *archived]:
        for target in re.findall(r"\]\((?!https?:)([^)#]+)", page.read_text("utf-8")):
            assert (page.parent / target).exists(), f"{page.name}: {target}"
