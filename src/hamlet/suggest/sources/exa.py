"""Exa: https://docs.exa.ai/reference/search"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, ClassVar

from hamlet.spi.sources import LinkQuery, SourceSettings
from hamlet.suggest.sources.web_source import SearchRequest, WebSource

_DAYS = {"day": 1, "week": 7, "month": 31, "year": 366}


class ExaSettings(SourceSettings):
    """`api_key` is the key."""

    base_url: str = "https://api.exa.ai"


class Exa(WebSource):
    """Exa as a link source."""

    Settings: ClassVar[type[SourceSettings]] = ExaSettings
    name: ClassVar[str] = "exa"

    def _build_request(self, query: LinkQuery) -> SearchRequest:
        body: dict[str, Any] = {
            "query": query.text[:400],
            "numResults": min(query.limit, 25),
            "type": "auto",
            "contents": {"text": {"maxCharacters": 200}},
        }
        if query.freshness != "any":
            since = datetime.now(UTC) - timedelta(days=_DAYS[query.freshness])
            body["startPublishedDate"] = since.strftime("%Y-%m-%dT00:00:00.000Z")
        return SearchRequest("/search", json=body, headers={"x-api-key": self.settings.secret()})

    def _parse_results(self, body: Any) -> Sequence[Mapping[str, Any]]:
        return [
            {**row, "snippet": row.get("text"), "published_at": row.get("publishedDate")}
            for row in body["results"]
            if row.get("title")
        ]
