"""`python -m deploy.docsite.lists` writes the list of archived results. It is not committed, since two branches
that add a page each would conflict."""

from __future__ import annotations

from pathlib import Path

_ARCHIVE = (
    "# Archived results\n\nEvery measurement as written on its day, with the names and commands of "
    "that day, newest first. [The current figures](../README.md) are on one page.\n"
)


def render_index(folder: Path, head: str) -> str:
    """A page that lists the other pages of its folder by title, the newest first."""
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
