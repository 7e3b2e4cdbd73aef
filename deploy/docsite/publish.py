"""`python -m deploy.docsite.publish SITE` copies files of the repository that pages link to into the site.

In the repository a page can link to `../deploy/x.yaml`, outside of `docs/`; the site has no such path. The
file is copied to `repository/`, and the link in the built page is rewritten.
"""

from __future__ import annotations

import posixpath
import re
import shutil
import sys
from pathlib import Path

_HREF = re.compile(r'(?<=href=")((?:\.\./)+)([^"#?:]+)(?=["#])')
_COPIES_FOLDER = "repository"


def publish(site: Path, root: Path) -> list[str]:
    """Copy the linked files and rewrite the links; the paths of the copied files."""
    copied: set[str] = set()
    for file in site.rglob("*.html"):
        folder = file.parent.relative_to(site).as_posix()

        def rewrite_link(match: re.Match[str], folder: str = folder) -> str:
            path = posixpath.normpath(posixpath.join(folder, match[1], match[2]))
            outside = path.removeprefix("../")
            if path == outside or not (root / outside).is_file():
                return match[0]
            copied.add(outside)
            return posixpath.relpath(f"{_COPIES_FOLDER}/{outside}", folder)

        text = file.read_text("utf-8")
        rewritten = _HREF.sub(rewrite_link, text)
        if rewritten != text:
            file.write_text(rewritten, "utf-8")
    for path in copied:
        (site / _COPIES_FOLDER / path).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(root / path, site / _COPIES_FOLDER / path)
    return sorted(copied)


if __name__ == "__main__":
    print(f"published: {', '.join(publish(Path(sys.argv[1]), Path())) or 'nothing'}")
