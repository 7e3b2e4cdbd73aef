"""What all web searches share: the transport, the daily quota, and the mapping of errors."""

from __future__ import annotations

import asyncio
import datetime
import html
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar
from urllib.parse import quote, urlencode, urlsplit

import orjson

from hamlet.core.errors import ProviderError
from hamlet.core.text import detect_language
from hamlet.net.client.transport import HttptoolsTransport
from hamlet.spi import API_VERSION, ProviderSettings, retry_after
from hamlet.spi.sources import FoundLink, LinkQuery, SourceError, SourceSettings

_MAX_BODY_BYTES = 4 << 20
_TAG = re.compile(r"<[^>]+>")
# Registries give these suffixes to governments and schools only.
_OFFICIAL = re.compile(r"(?:^|\.)(?:gov|mil|edu|int|(?:go|ac|lg)\.(?:kr|jp)|(?:gov|ac)\.\w{2})$")
_SITE_KINDS = {
    "wikipedia.org": "encyclopedia",
    "youtube.com": "video",
    "vimeo.com": "video",
    "stackoverflow.com": "community",
    "reddit.com": "community",
}


@dataclass(frozen=True, slots=True)
class SearchRequest:
    """A request to a vendor: a POST of `json` if there is one, else a GET with `params`."""

    path: str
    params: Mapping[str, str | int] = field(default_factory=dict)
    json: Mapping[str, Any] | None = None
    headers: Mapping[str, str] = field(default_factory=dict)


class WebSource:
    """A web search with an HTTP API.

    A source derives from it and defines `name`, `Settings`, `_build_request` and `_parse_results`.
    """

    api_version: ClassVar[int] = API_VERSION
    Settings: ClassVar[type[SourceSettings]] = SourceSettings
    name: ClassVar[str]

    def __init__(self, settings: SourceSettings) -> None:
        self.settings: Any = settings
        host = ProviderSettings(base_url=settings.base_url, connect_timeout_s=settings.timeout_s)
        self._transport = HttptoolsTransport(host)
        self._day: datetime.date | None = None
        self._calls_today = 0

    async def search(self, query: LinkQuery) -> Sequence[FoundLink]:
        """Links for a query. Raises SourceError."""
        if not query.text:
            return []
        self._consume_quota()
        try:
            async with asyncio.timeout(self.settings.timeout_s):
                body = await self._fetch(self._build_request(query))
            rows = self._parse_results(orjson.loads(body))
            return [self._build_link(row, i) for i, row in enumerate(rows[: query.limit])]
        except TimeoutError:
            waited = f"{self.settings.timeout_s:g} s"
            raise SourceError(f"{self.name} did not answer within {waited}") from None
        except ProviderError as error:
            raise SourceError(f"{self.name}: {error.code}") from None
        except (ValueError, KeyError, TypeError, AttributeError):
            raise SourceError(f"{self.name}: the answer is not what its API promises") from None

    @property
    def quota_left(self) -> int | None:
        """Calls left today (UTC); None without a quota."""
        quota: int | None = self.settings.daily_quota
        return None if quota is None else max(0, quota - self._calls_today)

    async def aclose(self) -> None:
        """Close the connections."""
        await self._transport.aclose()

    async def _fetch(self, request: SearchRequest) -> bytes:
        method = "GET" if request.json is None else "POST"
        query = urlencode(request.params, quote_via=quote)
        path = f"{request.path}?{query}" if query else request.path
        exchange = self._transport.stream(method, path, json=request.json, headers=request.headers)
        async with exchange as reply:
            if not 200 <= reply.status < 300:
                retry_after_s = retry_after(reply.headers)
                raise SourceError(f"{self.name} answered {reply.status}", retry_after_s)
            return await reply.aread(_MAX_BODY_BYTES)

    def _build_request(self, query: LinkQuery) -> SearchRequest:
        """The vendor's request for a query. Raises SourceError."""
        raise SourceError(f"{self.name} cannot search")

    def _parse_results(self, body: Any) -> Sequence[Mapping[str, Any]]:
        """Rows with title and url, and optionally snippet, score and published_at."""
        rows: Sequence[Mapping[str, Any]] = body["results"]
        return rows

    def _consume_quota(self) -> None:
        today = datetime.datetime.now(datetime.UTC).date()
        if today != self._day:
            self._day, self._calls_today = today, 0
        if self.quota_left == 0:
            raise SourceError(f"{self.name}: the day's quota is used up")
        self._calls_today += 1

    def _build_link(self, row: Mapping[str, Any], rank: int) -> FoundLink:
        title, snippet = plain_text(row["title"]), plain_text(row.get("snippet") or "")
        return FoundLink(
            url=row["url"],
            title=title,
            snippet=snippet,
            kind=site_kind(row["url"]),
            language=detect_language(f"{title} {snippet}") or "en",
            # Without a score by the vendor, its order is the score.
            score=round(float(row.get("score") or 1 / (rank + 1)), 3),
            source=self.name,
            published_at=row.get("published_at"),
        )


def site_kind(url: str) -> str:
    """The kind of site a URL leads to, judged by its host; "other" if that is unknown."""
    try:
        host = (urlsplit(url).hostname or "").removeprefix("www.")
    except ValueError:
        return "other"
    if _OFFICIAL.search(host):
        return "official"
    if host.startswith(("docs.", "developer.")):
        return "doc"
    return _SITE_KINDS.get(".".join(host.split(".")[-2:]), "other")


def plain_text(text: str) -> str:
    """The text on one line, without tags and with entities decoded."""
    return " ".join(html.unescape(_TAG.sub("", text)).split())
