"""`python -m deploy.docsite [FOLDER]` writes the generated pages. CI fails if a committed one differs."""

from __future__ import annotations

import sys
from pathlib import Path

from deploy.docsite import alerts, api, contributing, settings


def generated_pages() -> dict[str, str]:
    """Every generated page, by its path in the repository; metrics.md is hamlet.dashboards.build's."""
    return {
        "docs/reference/configuration.md": settings.render_page(),
        "docs/reference/api.md": api.render_page(),
        "docs/reference/alerts.md": alerts.render_page(),
        "docs/contributing.md": contributing.render_page(),
    }


def main(folder: Path = Path()) -> None:
    """Write them."""
    for name, text in generated_pages().items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text, "utf-8")


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))
