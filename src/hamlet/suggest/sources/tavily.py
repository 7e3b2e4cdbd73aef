"""Tavily: https://docs.tavily.com/documentation/api-reference/endpoint/search"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from hamlet.spi.sources import LinkQuery, SourceSettings
from hamlet.suggest.sources.web_source import SearchRequest, WebSource


class TavilySettings(SourceSettings):
    """`api_key` is the key."""

    base_url: str = "https://api.tavily.com"


class Tavily(WebSource):
    """Tavily as a link source."""

    Settings: ClassVar[type[SourceSettings]] = TavilySettings
    name: ClassVar[str] = "tavily"

    def _build_request(self, query: LinkQuery) -> SearchRequest:
        body: dict[str, Any] = {"query": query.text[:400], "max_results": min(query.limit, 20)}
        if query.freshness != "any":
            body["time_range"] = query.freshness
        headers = {"authorization": f"Bearer {self.settings.secret()}"}
        return SearchRequest("/search", json=body, headers=headers)

    def _parse_results(self, body: Any) -> Sequence[Mapping[str, Any]]:
        return [
            {**row, "snippet": row.get("content"), "published_at": row.get("published_date")}
            for row in body["results"]
        ]
