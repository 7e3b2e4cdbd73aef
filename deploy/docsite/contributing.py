"""CONTRIBUTING.md as a page of the site, with links relative to docs/."""

from __future__ import annotations

import re
from pathlib import Path

_SOURCE = Path(__file__).parents[2] / "CONTRIBUTING.md"
_DOCS_LINK = re.compile(r"(?<=\]\()docs/")


def render_page() -> str:
    """The page's Markdown."""
    return _DOCS_LINK.sub("", _SOURCE.read_text("utf-8"))
