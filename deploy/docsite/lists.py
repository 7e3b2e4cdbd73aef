"""`python -m deploy.docsite.lists` writes the lists of decisions and of results, which are not committed:
two branches that add one each would be in conflict for nothing."""

from __future__ import annotations

import re
from pathlib import Path

_ADR = "# Decisions\n\nWhy things are as they are: context, choice, price.\n"
_RESULTS = "# Results\n\nWhat was measured, when, and with which command.\n"


def render_index(folder: Path, head: str, *, newest_first: bool = False) -> str:
    """A page that lists the pages beside it by their titles."""
    pages = sorted((p for p in folder.glob("*.md") if p.stem != "index"), reverse=newest_first)
    return "\n".join([head, *(f"- [{_page_title(page)}]({page.name})" for page in pages)]) + "\n"


def _page_title(page: Path) -> str:
    first = page.read_text("utf-8").partition("\n")[0].lstrip("# ")
    if "adr" not in page.parts:
        return first
    # Some begin with their number, and some have it in the name alone.
    return f"{int(page.stem.partition('-')[0])}. {re.sub(r'^[0-9]+[.] ', '', first)}"


def main(docs: Path = Path("docs")) -> None:
    """Write both."""
    (docs / "adr/index.md").write_text(render_index(docs / "adr", _ADR), "utf-8")
    results = render_index(docs / "results", _RESULTS, newest_first=True)
    (docs / "results/index.md").write_text(results, "utf-8")


if __name__ == "__main__":
    main()
