"""Kagi's Search API v1: https://help.kagi.com/kagi/api/quick-start.html

Fields: https://github.com/kagisearch/kagi-openapi-python/blob/main/docs/SearchRequest.md
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, ClassVar

from hamlet.spi.sources import LinkQuery, SourceSettings
from hamlet.suggest.sources.web_source import SearchRequest, WebSource

_MAX_RESULTS = 1024  # The API refuses more.
_DAYS = {"day": 1, "week": 7, "month": 31, "year": 366}


class KagiSettings(SourceSettings):
    """`api_key` is the API token. The preferences of its account apply to the results."""

    base_url: str = "https://kagi.com"


class Kagi(WebSource):
    """Kagi as a link source."""

    Settings: ClassVar[type[SourceSettings]] = KagiSettings
    name: ClassVar[str] = "kagi"

    def _build_request(self, query: LinkQuery) -> SearchRequest:
        body: dict[str, Any] = {
            "query": query.text,
            "limit": min(query.limit, _MAX_RESULTS),
            "safe_search": query.safe != "off",
        }
        if filters := _build_filters(query):
            body["filters"] = filters
        headers = {"authorization": f"Bearer {self.settings.secret()}"}
        return SearchRequest("/api/v1/search", json=body, headers=headers)

    def _parse_results(self, body: Any) -> Sequence[Mapping[str, Any]]:
        # Related searches, videos and news are lists of their own beside "search".
        rows = body["data"].get("search") or []
        return [{**row, "published_at": row.get("time")} for row in rows]


def _build_filters(query: LinkQuery) -> dict[str, str]:
    filters: dict[str, str] = {}
    if query.country:
        filters["region"] = query.country
    if query.freshness != "any":
        since = datetime.now(UTC) - timedelta(days=_DAYS[query.freshness])
        filters["after"] = since.date().isoformat()
    return filters
