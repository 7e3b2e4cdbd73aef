"""`python -m deploy.docsite [FOLDER]` writes the generated pages. A test fails if a committed one differs."""

from __future__ import annotations

import sys
from pathlib import Path

from deploy.docsite import alerts, api, contributing, settings


def generated_pages() -> dict[str, str]:
    """Every generated page by its path, except metrics.md, which hamlet.dashboards.build writes."""
    return {
        "docs/reference/configuration.md": settings.render_page(),
        "docs/reference/api.md": api.render_page(),
        "docs/reference/alerts.md": alerts.render_page(),
        "docs/contributing.md": contributing.render_page(),
    }


def main(folder: Path = Path()) -> None:
    """Write the pages."""
    for name, text in generated_pages().items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text, "utf-8")


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))
