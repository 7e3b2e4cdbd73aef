"""SearXNG, self-hosted, its JSON format enabled: https://docs.searxng.org/dev/search_api.html"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from pydantic import Field

from hamlet.spi.sources import LinkQuery, SourceSettings
from hamlet.suggest.sources.web_source import SearchRequest, WebSource

_SAFE = {"off": "0", "moderate": "1", "strict": "2"}


class SearXNGSettings(SourceSettings):
    """`base_url` is the instance."""

    base_url: str = Field(min_length=1)


class SearXNG(WebSource):
    """SearXNG as a link source, which needs no key."""

    Settings: ClassVar[type[SourceSettings]] = SearXNGSettings
    name: ClassVar[str] = "searxng"

    def _build_request(self, query: LinkQuery) -> SearchRequest:
        params = {
            "q": query.text[:400],
            "format": "json",
            "language": query.language,
            "safesearch": _SAFE[query.safe],
        }
        if query.freshness != "any":
            params["time_range"] = query.freshness
        return SearchRequest("/search", params)

    def _parse_results(self, body: Any) -> Sequence[Mapping[str, Any]]:
        # Its scores are sums over engines and not in the range 0 to 1, so only its order counts.
        return [
            {
                "title": row["title"],
                "url": row["url"],
                "snippet": row.get("content"),
                "published_at": row.get("publishedDate"),
            }
            for row in body["results"]
        ]
