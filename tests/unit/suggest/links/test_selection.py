"""Selecting links: one key for all URLs of a page."""

import pytest

from hamlet.suggest.links.selection import canonicalize_url


@pytest.mark.parametrize(
    "url",
    [
        "https://www.example.org/a//b/?utm_source=x&b=2&a=1#top",
        "http://example.org/a/b?a=1&b=2&gclid=3",
        "https://EXAMPLE.org:443/a/b/?b=2&a=1",
        "https://m.example.org/a/b?a=1&b=2",
    ],
)
def test_url_canonicalization(url: str) -> None:
    assert canonicalize_url(url) == "example.org/a/b?a=1&b=2"
