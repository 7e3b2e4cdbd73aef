"""The request and the response of the main screen."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from hamlet.core.text import Language
from hamlet.spi.sources import Freshness, SafeSearch

Surface = Literal["home", "search", "chat", "page"]
Status = Literal["ok", "partial", "empty"]
LinkTier = Literal["pinned", "web", "cache", "stale", "embedded", "starter"]
ChipTier = Literal["pinned", "llm", "cache", "stale", "embedded", "starter"]


@dataclass(frozen=True, slots=True)
class ChatTurn:
    """One message of the chat that the user sees."""

    role: Literal["user", "assistant"]
    content: str


@dataclass(frozen=True, slots=True)
class AllowedTiers:
    """Which tiers may be used. Without `embedded` a response may be empty."""

    llm: bool = True
    web: bool = True
    stale: bool = True
    embedded: bool = True


@dataclass(frozen=True, slots=True)
class SuggestRequest:
    """A context to suggest for. All texts are untrusted, `page_text` most of all.

    `injected_text` holds the sentences of the page that instruct a model, once they were removed
    from it. Limits count items and characters, `hour` is 0 to 23 where the user is.
    """

    language: Language
    surface: Surface = "home"
    query: str = ""
    draft: str = ""
    messages: tuple[ChatTurn, ...] = ()
    page_title: str = ""
    page_text: str = ""
    injected_text: str = ""
    exclude: frozenset[str] = frozenset()
    want_links: bool = True
    want_chips: bool = True
    link_limit: int = 6
    max_per_host: int = 2
    chip_limit: int = 4
    chip_chars: int = 24
    chip_kinds: frozenset[str] = frozenset()
    action: Literal["fill", "submit"] = "fill"
    hour: int = 12
    country: str | None = None
    freshness: Freshness = "any"
    safe: SafeSearch = "moderate"
    include_hosts: frozenset[str] = frozenset()
    exclude_hosts: frozenset[str] = frozenset()
    interests: tuple[str, ...] = ()
    allow: AllowedTiers = AllowedTiers()
    overloaded: bool = False
    budget_ms: int = 800
    warnings: tuple[str, ...] = ()

    @property
    def user_texts(self) -> tuple[str, ...]:
        """What the user wrote, which a chip must not repeat."""
        user_turns = [m.content for m in self.messages if m.role == "user"]
        return tuple([text for text in (self.query, self.draft, *user_turns) if text])

    @property
    def search_query(self) -> str:
        """The words to search the web for: up to 200 characters."""
        user_turns = [m.content for m in self.messages if m.role == "user"]
        text = self.query or self.draft or (user_turns[-1] if user_turns else "") or self.page_title
        return " ".join(text.split())[:200]

    @property
    def context_text(self) -> str:
        """The text to find suggestions for, the most specific part first."""
        turns = " ".join(m.content[:400] for m in self.messages[-4:])
        page = f"{self.page_title} {self.page_text[:1000]}"
        return " ".join(f"{self.query} {self.draft} {turns} {page}".split())

    @property
    def search_texts(self) -> tuple[str, ...]:
        """What to search for, in this order: the user's own words, then the whole context."""
        texts = (self.search_query, self.context_text)
        return tuple(dict.fromkeys([text for text in texts if text]))


@dataclass(frozen=True, slots=True)
class Draft:
    """A chip that the validator has not seen yet."""

    text: str
    prompt: str
    kind: str
    icon: str = "spark"


@dataclass(frozen=True, slots=True)
class Site:
    """The site that a link leads to."""

    name: str
    host: str
    icon: str | None


@dataclass(frozen=True, slots=True)
class Why:
    """Why a link is shown: a code, and the terms that matched."""

    code: Literal["matched_terms", "editorial", "safety", "pinned"]
    terms: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Link:
    """A related link; `id` is a hash of the canonical URL."""

    id: str
    title: str
    url: str
    display_url: str
    snippet: str
    source: Site
    lang: str
    kind: str
    score: float
    position: int
    why: Why
    published_at: str | None = None
    license: str | None = None
    token: str = ""


@dataclass(frozen=True, slots=True)
class Chip:
    """A tappable suggestion: a short label and the prompt it stands for."""

    id: str
    text: str
    prompt: str
    action: Literal["fill", "submit"]
    kind: str
    icon: str
    lang: str
    position: int
    grounding: tuple[str, ...] = ()
    token: str = ""


@dataclass(frozen=True, slots=True)
class Links:
    """The links section."""

    status: Status
    tier: LinkTier
    items: tuple[Link, ...] = ()


@dataclass(frozen=True, slots=True)
class Chips:
    """The chips section."""

    status: Status
    tier: ChipTier
    items: tuple[Chip, ...] = ()


@dataclass(frozen=True, slots=True)
class Degradation:
    """A section that came from a lower tier, and why."""

    part: Literal["links", "chips"]
    origin: str
    to: str
    reason: Literal["deadline", "failed", "rejected", "overload"]


@dataclass(frozen=True, slots=True)
class CacheState:
    """Whether a section came from the cache, and its age in seconds."""

    status: Literal["hit", "stale", "miss", "none"] = "none"
    age_s: float = 0.0


@dataclass(frozen=True, slots=True)
class Cache:
    """The part of the cache in a response."""

    links: CacheState = CacheState()
    chips: CacheState = CacheState()


@dataclass(frozen=True, slots=True)
class Timing:
    """How long the response took, and how long it might have taken, in milliseconds."""

    budget_ms: int
    total_ms: float
    links_ms: float = 0.0
    chips_ms: float = 0.0


@dataclass(frozen=True, slots=True)
class Suggestions:
    """A response of the main screen."""

    id: str
    created: str
    lang: Language
    surface: Surface
    links: Links | None
    chips: Chips | None
    timing: Timing
    degraded: bool = False
    degradations: tuple[Degradation, ...] = ()
    cache: Cache = Cache()
    warnings: tuple[str, ...] = field(default_factory=tuple)
