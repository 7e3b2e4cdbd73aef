"""`python -m deploy.docsite [FOLDER]` writes the generated pages. CI fails if a committed one differs."""

from __future__ import annotations

import sys
from pathlib import Path

from deploy.docsite import alerts, api, contributing, settings


def files() -> dict[str, str]:
    """Every generated page, by its path in the repository; metrics.md is hamlet.dashboards.build's."""
    return {
        "docs/reference/configuration.md": settings.page(),
        "docs/reference/api.md": api.page(),
        "docs/reference/alerts.md": alerts.page(),
        "docs/contributing.md": contributing.page(),
    }


def main(folder: Path = Path()) -> None:
    """Write them."""
    for name, text in files().items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text, "utf-8")


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))
