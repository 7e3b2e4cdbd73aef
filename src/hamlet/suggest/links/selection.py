"""From found links to the links that are shown: filtered, deduplicated and merged."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import replace
from urllib.parse import parse_qsl, urlencode, urlsplit

from hamlet.core.text import split_words
from hamlet.spi.sources import FoundLink
from hamlet.suggest.ids import link_id
from hamlet.suggest.model import Link, Site, SuggestRequest, Why

_HOST_PREFIX = re.compile(r"^(?:www|m|mobile)\.")
_TRACKING_PREFIXES = ("utm_", "gclid", "fbclid", "msclkid", "igshid", "napm", "ref_src")


def select_links(
    found: Iterable[FoundLink], request: SuggestRequest, reason_code: str
) -> tuple[Link, ...]:
    """The first suitable links: one for each canonical URL, few for each host, https only."""
    links: list[Link] = []
    seen: set[str] = set()
    hosts: Counter[str] = Counter()
    for candidate in found:
        key = _canonical_or_none(candidate.url)
        if key is None:
            continue
        host = key.partition("/")[0]
        id_ = link_id(key)
        is_excluded = id_ in request.exclude or not candidate.url.startswith("https://")
        is_excluded = is_excluded or not _is_host_allowed(host, request)
        if is_excluded or key in seen or hosts[host] >= request.max_per_host:
            continue
        seen.add(key)
        hosts[host] += 1
        links.append(
            _build_link(
                candidate, id_, host, len(links) + 1, _link_reason(reason_code, candidate, request)
            )
        )
        if len(links) == request.link_limit:
            break
    return tuple(links)


def _is_host_allowed(host: str, request: SuggestRequest) -> bool:
    def matches_any(names: frozenset[str]) -> bool:
        return any(host == name or host.endswith(f".{name}") for name in names)

    return not matches_any(request.exclude_hosts) and (
        not request.include_hosts or matches_any(request.include_hosts)
    )


def _canonical_or_none(url: str) -> str | None:
    try:
        return canonicalize_url(url)
    except ValueError:
        return None


def merge_links(
    first: Sequence[Link], more: Sequence[Link], request: SuggestRequest
) -> tuple[Link, ...]:
    """`first`, then those of `more` that are new and within the limits, renumbered."""
    known = {link.id for link in first}
    hosts = Counter(link.source.host for link in first)
    chosen = list(first)
    for link in more:
        if link.id not in known and hosts[link.source.host] < request.max_per_host:
            known.add(link.id)
            hosts[link.source.host] += 1
            chosen.append(link)
    return tuple(
        replace(link, position=i) for i, link in enumerate(chosen[: request.link_limit], 1)
    )


def canonicalize_url(url: str) -> str:
    """A key that is the same for all URLs of a page. Raises ValueError for a malformed URL.

    It has no scheme, default port, tracking parameters, fragment, `www.`, `m.`, `/amp`, and no
    double or trailing slashes.
    """
    parts = urlsplit(url)
    host = _HOST_PREFIX.sub("", (parts.hostname or "").encode("idna").decode())
    port = f":{parts.port}" if parts.port not in (None, 80, 443) else ""
    query = sorted(
        (k, v) for k, v in parse_qsl(parts.query) if not k.lower().startswith(_TRACKING_PREFIXES)
    )
    path = re.sub(r"/+", "/", parts.path).rstrip("/").removesuffix("/amp")
    return host + port + path + (f"?{urlencode(query)}" if query else "")


def strip_tracking(url: str) -> str:
    """The URL of the source without its tracking parameters."""
    parts = urlsplit(url)
    pairs = parse_qsl(parts.query, keep_blank_values=True)
    untracked = [(k, v) for k, v in pairs if not k.lower().startswith(_TRACKING_PREFIXES)]
    return (
        url if len(untracked) == len(pairs) else parts._replace(query=urlencode(untracked)).geturl()
    )


def _build_link(found: FoundLink, id_: str, host: str, position: int, why: Why) -> Link:
    path = urlsplit(found.url).path.strip("/").split("/")[0]
    return Link(
        id=id_,
        title=found.title[:120],
        url=strip_tracking(found.url),
        display_url=(f"{host} › {path}" if path else host)[:80],
        snippet=found.snippet[:200],
        source=Site(found.title, host, found.icon),
        lang=found.language,
        kind=found.kind,
        score=found.score,
        position=position,
        why=why,
        published_at=found.published_at,
        license=found.license,
    )


def _link_reason(code: str, found: FoundLink, request: SuggestRequest) -> Why:
    if code == "safety":
        return Why("safety")
    if code == "editorial":
        return Why("editorial")
    if code == "pinned":
        return Why("pinned")
    shown = set(split_words(f"{found.title} {found.snippet}"))
    return Why("matched_terms", tuple(sorted(shown & set(split_words(request.context_text)))[:5]))
