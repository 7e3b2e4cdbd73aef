"""`python -m deploy.docsite.lists` writes the list of archived results, which is not committed:
two branches that add a page each would be in conflict for nothing."""

from __future__ import annotations

from pathlib import Path

_ARCHIVE = (
    "# Archived results\n\nEvery measurement as it was written down on its day, with the names and "
    "commands of that day, newest first. [The newest figures](../README.md) are on one page.\n"
)


def render_index(folder: Path, head: str) -> str:
    """A page that lists the pages beside it by their titles, the newest first."""
    pages = sorted((p for p in folder.glob("*.md") if p.stem != "index"), reverse=True)
    return "\n".join([head, *(f"- [{_page_title(page)}]({page.name})" for page in pages)]) + "\n"


def _page_title(page: Path) -> str:
    return page.read_text("utf-8").partition("\n")[0].lstrip("# ")


def main(docs: Path = Path("docs")) -> None:
    """Write the list."""
    archive = docs / "results/archive"
    (archive / "index.md").write_text(render_index(archive, _ARCHIVE), "utf-8")


if __name__ == "__main__":
    main()
