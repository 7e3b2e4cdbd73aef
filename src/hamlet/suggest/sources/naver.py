"""Naver web search: https://developers.naver.com/docs/serviceapi/search/web/web.md"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from pydantic import SecretStr

from hamlet.spi.sources import LinkQuery, SourceSettings
from hamlet.suggest.sources.web_source import SearchRequest, WebSource


class NaverSettings(SourceSettings):
    """`client_id` and `client_secret` of the application; Naver allows 25,000 calls a day."""

    base_url: str = "https://openapi.naver.com"
    client_id: str
    client_secret: SecretStr
    daily_quota: int | None = 25_000  # calls


class Naver(WebSource):
    """Naver's search of web documents as a link source."""

    Settings: ClassVar[type[SourceSettings]] = NaverSettings
    name: ClassVar[str] = "naver"

    def _build_request(self, query: LinkQuery) -> SearchRequest:
        headers = {
            "x-naver-client-id": self.settings.client_id,
            "x-naver-client-secret": self.settings.client_secret.get_secret_value(),
        }
        params: dict[str, str | int] = {"query": query.text[:200], "display": query.limit}
        return SearchRequest("/v1/search/webkr.json", params, headers=headers)

    def _parse_results(self, body: Any) -> Sequence[Mapping[str, Any]]:
        return [
            {"title": row["title"], "url": row["link"], "snippet": row.get("description")}
            for row in body["items"]
        ]
