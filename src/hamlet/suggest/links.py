"""From what sources found to what is shown."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from urllib.parse import parse_qsl, urlencode, urlsplit

from hamlet.core.text import words
from hamlet.spi.sources import FoundLink
from hamlet.suggest.ids import link_id
from hamlet.suggest.model import Ask, Link, Site, Why

_TRACKING = ("utm_", "gclid", "fbclid", "msclkid", "igshid", "napm", "ref")


def show(found: Iterable[FoundLink], ask: Ask, why: str) -> tuple[Link, ...]:
    """Deduplicated by canonical URL, at most `max_per_host` a host, https only."""
    links: list[Link] = []
    seen: set[str] = set()
    hosts: Counter[str] = Counter()
    for candidate in found:
        key = canonical(candidate.url)
        host = key.partition("/")[0]
        id_ = link_id(key)
        unwanted = id_ in ask.exclude or not candidate.url.startswith("https://")
        if unwanted or key in seen or hosts[host] >= ask.max_per_host:
            continue
        seen.add(key)
        hosts[host] += 1
        links.append(_link(candidate, id_, host, len(links) + 1, _why(why, candidate, ask)))
        if len(links) == ask.link_limit:
            break
    return tuple(links)


def canonical(url: str) -> str:
    """A key under which the same page has one name: no scheme, tracking, www or trailing slash."""
    parts = urlsplit(url)
    host = (parts.hostname or "").encode("idna").decode().removeprefix("www.")
    kept = sorted((k, v) for k, v in parse_qsl(parts.query) if not k.lower().startswith(_TRACKING))
    path = parts.path.replace("//", "/").rstrip("/")
    return host + path + (f"?{urlencode(kept)}" if kept else "")


def _link(found: FoundLink, id_: str, host: str, position: int, why: Why) -> Link:
    path = urlsplit(found.url).path.strip("/").split("/")[0]
    return Link(
        id=id_,
        title=found.title[:120],
        url=found.url,
        display_url=(f"{host} › {path}" if path else host)[:80],
        snippet=found.snippet[:200],
        source=Site(found.title, host, found.icon),
        lang=found.language,
        kind=found.kind,
        score=found.score,
        position=position,
        why=why,
        published_at=found.published_at,
    )


def _why(code: str, found: FoundLink, ask: Ask) -> Why:
    if code == "safety":
        return Why("safety")
    if code == "editorial":
        return Why("editorial")
    shown = set(words(f"{found.title} {found.snippet}"))
    return Why("matched_terms", tuple(sorted(shown & set(words(ask.topic)))[:5]))
