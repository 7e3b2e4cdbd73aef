"""The order of what the web found: by relevance, place, age and kind, then told apart.

The weights are the main-screen design's (A4), less those of clicks, and chosen there by judgement:
they were not fitted to anything.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from functools import lru_cache
from urllib.parse import urlsplit

from hamlet.retrieval import tokens
from hamlet.spi.sources import FoundLink, Freshness
from hamlet.suggest.validate import similar

_RELEVANCE, _PLACE, _FRESH, _PRIOR = 0.55, 0.15, 0.10, 0.10
# Carbonell and Goldstein, "The use of MMR", SIGIR 1998: how much of the choice is relevance.
_LAMBDA = 0.75
_HALF_LIFE_DAYS: dict[Freshness, float] = {
    "day": 1.0,
    "week": 7.0,
    "month": 30.0,
    "year": 180.0,
    "any": 365.0,
}
_TRUSTED = frozenset({"official", "encyclopedia", "doc"})
_UNKNOWN = 0.5


def ranked(
    found: Sequence[FoundLink], text: str, freshness: Freshness, now: datetime
) -> list[FoundLink]:
    """Best first, without near twins of one host. `text` is what was searched for."""
    wanted = _terms(text)
    scores = [
        _RELEVANCE * _relevance(link, wanted)
        + _PLACE * (1 - i / len(found))
        + _FRESH * _youth(link.published_at, _HALF_LIFE_DAYS[freshness], now)
        + _PRIOR * (1.0 if link.kind in _TRUSTED else _UNKNOWN)
        for i, link in enumerate(found)
    ]
    return _diverse(list(found), scores)


def _relevance(link: FoundLink, wanted: frozenset[str]) -> float:
    """The share of the wanted terms it has; its source's own score breaks ties."""
    if not wanted:
        return link.score
    own = _terms(f"{link.title} {link.snippet}")
    return 0.8 * len(wanted & own) / len(wanted) + 0.2 * min(1.0, max(0.0, link.score))


def _youth(published_at: str | None, half_life_days: float, now: datetime) -> float:
    """1 for what is new, half of it for every half-life; what has no date is not guessed at."""
    if published_at is None:
        return _UNKNOWN
    try:
        made = datetime.fromisoformat(published_at)
    except ValueError:
        return _UNKNOWN
    made = made if made.tzinfo else made.replace(tzinfo=UTC)
    days = max(0.0, (now - made).total_seconds() / 86400)
    return float(0.5 ** (days / half_life_days))


def _diverse(links: list[FoundLink], scores: list[float]) -> list[FoundLink]:
    chosen: list[int] = []
    left = [i for i in range(len(links)) if not _is_twin(i, links)]
    nearest = dict.fromkeys(left, 0.0)
    while left:
        best = max(left, key=lambda i: _LAMBDA * scores[i] - (1 - _LAMBDA) * nearest[i])
        left.remove(best)
        chosen.append(best)
        for i in left:
            nearest[i] = max(nearest[i], _alike(links[i], links[best]))
    return [links[i] for i in chosen]


def _is_twin(i: int, links: list[FoundLink]) -> bool:
    """Whether a link before it leads to the same host under nearly the same title."""
    own = links[i]
    return any(
        _host(own.url) == _host(other.url) and similar(own.title, other.title)
        for other in links[:i]
    )


def _alike(one: FoundLink, other: FoundLink) -> float:
    a, b = _terms(f"{one.title} {one.snippet}"), _terms(f"{other.title} {other.snippet}")
    return len(a & b) / len(a | b) if a and b else 0.0


def _host(url: str) -> str:
    try:
        return urlsplit(url).hostname or ""
    except ValueError:
        return url


# What the pool holds is ranked again for every request.
@lru_cache(maxsize=4096)
def _terms(text: str) -> frozenset[str]:
    return frozenset(tokens(text))
