"""The order of web results: by relevance, the source's order, age and kind, then diversified.

The weights were chosen by judgement and are not fitted to data.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from urllib.parse import urlsplit

from hamlet.spi.sources import FoundLink, Freshness
from hamlet.suggest.retrieval import tokenize
from hamlet.suggest.similarity import are_similar

_RELEVANCE_WEIGHT, _POSITION_WEIGHT, _FRESHNESS_WEIGHT, _KIND_WEIGHT = 0.55, 0.15, 0.10, 0.10
# Maximal marginal relevance: Carbonell and Goldstein, "The Use of MMR, Diversity-Based Reranking
# for Reordering Documents and Producing Summaries", SIGIR 1998. 1 would be relevance only.
_MMR_LAMBDA = 0.75
_HALF_LIFE_DAYS: dict[Freshness, float] = {
    "day": 1.0,
    "week": 7.0,
    "month": 30.0,
    "year": 180.0,
    "any": 365.0,
}
_TRUSTED_KINDS = frozenset({"official", "encyclopedia", "doc"})
_NEUTRAL_SCORE = 0.5


def rank_links(
    found: Sequence[FoundLink], text: str, freshness: Freshness, now: datetime
) -> list[FoundLink]:
    """Best first, without near duplicates from one host. `text` is the query, `now` has a zone."""
    wanted = frozenset(tokenize(text))
    terms = [frozenset(tokenize(f"{link.title} {link.snippet}")) for link in found]
    scores = [
        _RELEVANCE_WEIGHT * _relevance(link, wanted, terms[i])
        + _POSITION_WEIGHT * (1 - i / len(found))
        + _FRESHNESS_WEIGHT * _freshness(link.published_at, _HALF_LIFE_DAYS[freshness], now)
        + _KIND_WEIGHT * (1.0 if link.kind in _TRUSTED_KINDS else _NEUTRAL_SCORE)
        for i, link in enumerate(found)
    ]
    return [found[i] for i in _diversify(_deduplicate(found), terms, scores)]


def _relevance(link: FoundLink, wanted: frozenset[str], link_terms: frozenset[str]) -> float:
    """The share of the wanted terms it contains; its source's score breaks ties."""
    if not wanted:
        return link.score
    return 0.8 * len(wanted & link_terms) / len(wanted) + 0.2 * min(1.0, max(0.0, link.score))


def _freshness(published_at: str | None, half_life_days: float, now: datetime) -> float:
    """1 for a new page, halved for every half-life; neutral for a page without a date."""
    if published_at is None:
        return _NEUTRAL_SCORE
    try:
        published = datetime.fromisoformat(published_at)
    except ValueError:
        return _NEUTRAL_SCORE
    published = published if published.tzinfo else published.replace(tzinfo=UTC)
    days = max(0.0, (now - published).total_seconds() / 86400)
    return float(0.5 ** (days / half_life_days))


def _diversify(
    candidates: list[int], terms: Sequence[frozenset[str]], scores: list[float]
) -> list[int]:
    """Positions in the order of maximal marginal relevance."""
    chosen: list[int] = []
    max_similarity = dict.fromkeys(candidates, 0.0)
    while candidates:
        best = max(
            candidates,
            key=lambda i: _MMR_LAMBDA * scores[i] - (1 - _MMR_LAMBDA) * max_similarity[i],
        )
        candidates.remove(best)
        chosen.append(best)
        for i in candidates:
            max_similarity[i] = max(max_similarity[i], _jaccard(terms[i], terms[best]))
    return chosen


def _deduplicate(links: Sequence[FoundLink]) -> list[int]:
    """Positions of the links whose title resembles no earlier one of the same host."""
    titles: dict[str, list[str]] = {}
    kept: list[int] = []
    for i, link in enumerate(links):
        others = titles.setdefault(_host_of(link.url), [])
        if not any(are_similar(link.title, other) for other in others):
            kept.append(i)
        others.append(link.title)
    return kept


def _jaccard(a: frozenset[str], b: frozenset[str]) -> float:
    return len(a & b) / len(a | b) if a and b else 0.0


def _host_of(url: str) -> str:
    try:
        return urlsplit(url).hostname or ""
    except ValueError:
        return url
