"""Brave Search: https://api-dashboard.search.brave.com/app/documentation/web-search"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from hamlet.spi.sources import LinkQuery, SourceSettings
from hamlet.suggest.sources.web_source import SearchRequest, WebSource

_MAX_RESULTS = 20
_COUNTRY = {"ko": "KR", "ja": "JP", "en": "US"}
_LANGUAGE = {"ko": "ko", "ja": "jp", "en": "en"}


class BraveSettings(SourceSettings):
    """`api_key` is the subscription token."""

    base_url: str = "https://api.search.brave.com"


class Brave(WebSource):
    """Brave as a link source."""

    Settings: ClassVar[type[SourceSettings]] = BraveSettings
    name: ClassVar[str] = "brave"

    def _build_request(self, query: LinkQuery) -> SearchRequest:
        params: dict[str, str | int] = {
            "q": " ".join(query.text[:400].split()[:50]),
            "count": min(query.limit, _MAX_RESULTS),
            "country": query.country or _COUNTRY[query.language],
            "search_lang": _LANGUAGE[query.language],
            "safesearch": query.safe,
        }
        if query.freshness != "any":
            params["freshness"] = f"p{query.freshness[0]}"
        headers = {"x-subscription-token": self.settings.secret()}
        return SearchRequest("/res/v1/web/search", params, headers=headers)

    def _parse_results(self, body: Any) -> Sequence[Mapping[str, Any]]:
        rows = (body.get("web") or {}).get("results") or []
        return [
            {**row, "snippet": row.get("description"), "published_at": row.get("page_age")}
            for row in rows
        ]
