"""`python -m deploy.docsite.check SITE`: every link of a built site has a target, and no page loads anything
from another host."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urljoin, urlsplit

# Attributes by tag that make a browser load something by itself; links that users follow are fine.
_RESOURCE_ATTRIBUTES = {
    "script": "src", "img": "src", "iframe": "src", "source": "src", "video": "src", "link": "href",
}  # fmt: skip
_FETCHED_RELS = {"stylesheet", "icon", "preload", "preconnect", "dns-prefetch", "modulepreload"}
# An http URL, since urljoin does not resolve unknown schemes.
_BASE = "http://site.invalid"


@dataclass(slots=True)
class Page(HTMLParser):
    """The anchors, links and resources of one page."""

    ids: set[str] = field(default_factory=set)
    links: list[str] = field(default_factory=list)
    resources: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        HTMLParser.__init__(self)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attrs}
        if "id" in given:
            self.ids.add(given["id"])
        if tag == "a" and "href" in given:
            self.links.append(given["href"])
        fetched = tag != "link" or _FETCHED_RELS & set(given.get("rel", "").split())
        if (
            fetched
            and tag in _RESOURCE_ATTRIBUTES
            and (address := given.get(_RESOURCE_ATTRIBUTES[tag]))
        ):
            self.resources.append(address)


def find_problems(site: Path) -> Iterator[str]:
    """The problems of the site, one line each."""
    pages: dict[str, Page] = {}
    for file in sorted(site.rglob("*.html")):
        page = Page()
        page.feed(file.read_text("utf-8"))
        pages[_page_path(site, file)] = page
    for address, page in pages.items():
        for resource in page.resources:
            if urlsplit(resource).scheme in ("http", "https") or resource.startswith("//"):
                yield f"{address}: loads {resource}"
            elif (
                not resource.startswith("data:")
                and not _file_for(site, urljoin(_BASE + address, resource)).exists()
            ):
                yield f"{address}: loads {resource}, which does not exist"
        for link in page.links:
            yield from _check_link(site, pages, address, link)


def _check_link(site: Path, pages: dict[str, Page], address: str, link: str) -> Iterator[str]:
    url = urljoin(_BASE + address, link)
    if not url.startswith(_BASE + "/"):
        return
    target, _, anchor = url.removeprefix(_BASE).partition("#")
    if not _file_for(site, url).exists():
        yield f"{address}: {link} has no target"
    elif anchor and target in pages and unquote(anchor) not in pages[target].ids:
        yield f"{address}: {link}: no such anchor on the page"


def _page_path(site: Path, file: Path) -> str:
    return "/" + str(file.relative_to(site)).removesuffix("index.html")


def _file_for(site: Path, url: str) -> Path:
    path = unquote(urlsplit(url).path).lstrip("/")
    found = site / path
    return found / "index.html" if found.is_dir() or not path else found


def main(site: Path) -> None:
    """Print all problems; status 1 if there are any."""
    found = list(find_problems(site))
    for line in found:
        print(line)
    pages = len(list(site.rglob("*.html")))
    print(f"{pages} pages, {len(found)} problems")
    sys.exit(bool(found) or not pages)


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "site"))
