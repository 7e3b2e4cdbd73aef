"""What all web searches share: a client, a day's quota, and what is said when they fail."""

from __future__ import annotations

import datetime
import html
import re
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar
from urllib.parse import urlsplit

import httpx2

from hamlet.core.text import language
from hamlet.spi import API_VERSION
from hamlet.spi.sources import FoundLink, LinkQuery, SourceError, SourceSettings

_TAG = re.compile(r"<[^>]+>")
# What a host says of itself: registries give these endings to states and schools alone.
_OFFICIAL = re.compile(r"(?:^|\.)(?:gov|mil|edu|int|(?:go|ac|lg)\.(?:kr|jp)|(?:gov|ac)\.\w{2})$")
_KNOWN = {
    "wikipedia.org": "encyclopedia",
    "youtube.com": "video",
    "vimeo.com": "video",
    "stackoverflow.com": "community",
    "reddit.com": "community",
}


class WebSource:
    """A web search behind an HTTP API. A source derives `name`, `Settings`, `_ask` and `_read`."""

    api_version: ClassVar[int] = API_VERSION
    Settings: ClassVar[type[SourceSettings]] = SourceSettings
    name: ClassVar[str]

    def __init__(self, settings: SourceSettings) -> None:
        self.settings: Any = settings
        self._client: httpx2.AsyncClient | None = None
        self._day: datetime.date | None = None
        self._asked = 0

    async def search(self, query: LinkQuery) -> Sequence[FoundLink]:
        """What the web has. Raises SourceError."""
        if not query.text:
            return []
        self._count()
        try:
            response = await self._ask(self._http(), query)
            response.raise_for_status()
            rows = self._read(response.json())
            return [self._found(row, i) for i, row in enumerate(rows[: query.limit])]
        except httpx2.HTTPStatusError as error:
            wait = _seconds(error.response.headers.get("retry-after", ""))
            raise SourceError(f"{self.name} answered {error.response.status_code}", wait) from None
        except httpx2.HTTPError as error:
            raise SourceError(f"{self.name}: {type(error).__name__}") from None
        except (ValueError, KeyError, TypeError, AttributeError):
            raise SourceError(f"{self.name}: the answer is not what its API promises") from None

    @property
    def quota_left(self) -> int | None:
        """Calls that may still be made today; None without a quota."""
        quota: int | None = self.settings.daily_quota
        return None if quota is None else max(0, quota - self._asked)

    async def aclose(self) -> None:
        """Close the client."""
        if self._client is not None:
            await self._client.aclose()

    async def _ask(self, http: httpx2.AsyncClient, query: LinkQuery) -> httpx2.Response:
        raise SourceError(f"{self.name} cannot search")

    def _read(self, body: Any) -> Sequence[Mapping[str, Any]]:
        """Rows of title, url, snippet and perhaps score and published_at."""
        rows: Sequence[Mapping[str, Any]] = body["results"]
        return rows

    def _http(self) -> httpx2.AsyncClient:
        if self._client is None:
            settings = self.settings
            self._client = httpx2.AsyncClient(
                base_url=settings.base_url, timeout=settings.timeout_s
            )
        return self._client

    def _count(self) -> None:
        today = datetime.datetime.now(datetime.UTC).date()
        if today != self._day:
            self._day, self._asked = today, 0
        if self.quota_left == 0:
            raise SourceError(f"{self.name}: the day's quota is used up")
        self._asked += 1

    def _found(self, row: Mapping[str, Any], rank: int) -> FoundLink:
        title, snippet = plain(row["title"]), plain(row.get("snippet") or "")
        return FoundLink(
            url=row["url"],
            title=title,
            snippet=snippet,
            kind=kind_of(row["url"]),
            language=language(f"{title} {snippet}") or "en",
            # Where a vendor gives no score, its order is one.
            score=round(float(row.get("score") or 1 / (rank + 1)), 3),
            source=self.name,
            published_at=row.get("published_at"),
        )


def kind_of(url: str) -> str:
    """What kind of site a URL leads to, as far as its host tells; else "other"."""
    try:
        host = (urlsplit(url).hostname or "").removeprefix("www.")
    except ValueError:
        return "other"
    if _OFFICIAL.search(host):
        return "official"
    if host.startswith(("docs.", "developer.")):
        return "doc"
    return next((kind for name, kind in _KNOWN.items() if f".{host}".endswith(f".{name}")), "other")


def _seconds(retry_after: str) -> float | None:
    return float(retry_after) if retry_after.isascii() and retry_after.isdigit() else None


def plain(text: str) -> str:
    """Text without tags and entities, on one line."""
    return " ".join(html.unescape(_TAG.sub("", text)).split())
