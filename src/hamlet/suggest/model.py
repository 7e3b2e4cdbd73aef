"""What is asked of the main screen, and what it shows."""

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
    """One turn of the chat on screen."""

    role: Literal["user", "assistant"]
    content: str


@dataclass(frozen=True, slots=True)
class AllowedTiers:
    """Which tiers may be used. Without `embedded` an answer may be empty."""

    llm: bool = True
    web: bool = True
    stale: bool = True
    embedded: bool = True


@dataclass(frozen=True, slots=True)
class SuggestRequest:
    """A context to suggest for. Texts are untrusted; `page_text` most of all.

    `orders` are sentences of the page that tried to give orders, and are no part of it any more.
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
        """What the user wrote already; a chip must not repeat it."""
        user_turns = (m.content for m in self.messages if m.role == "user")
        return tuple(text for text in (self.query, self.draft, *user_turns) if text)

    @property
    def search_query(self) -> str:
        """The few words to search the web for."""
        user_turns = [m.content for m in self.messages if m.role == "user"]
        text = self.query or self.draft or (user_turns[-1] if user_turns else "") or self.page_title
        return " ".join(text.split())[:200]

    @property
    def context_text(self) -> str:
        """The text to find suggestions for, the latest and most telling first."""
        turns = " ".join(m.content[:400] for m in self.messages[-4:])
        page = f"{self.page_title} {self.page_text[:1000]}"
        return " ".join(f"{self.query} {self.draft} {turns} {page}".split())

    @property
    def search_texts(self) -> tuple[str, ...]:
        """What to search for, in turn: the user's own words before what was said around them."""
        return tuple(dict.fromkeys(text for text in (self.search_query, self.context_text) if text))


@dataclass(frozen=True, slots=True)
class Draft:
    """A chip before it has passed the validator."""

    text: str
    prompt: str
    kind: str
    icon: str = "spark"


@dataclass(frozen=True, slots=True)
class Site:
    """Where a link leads."""

    name: str
    host: str
    icon: str | None


@dataclass(frozen=True, slots=True)
class Why:
    """Why a link is here, as a code and the terms that matched."""

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
    """The links half."""

    status: Status
    tier: LinkTier
    items: tuple[Link, ...] = ()


@dataclass(frozen=True, slots=True)
class Chips:
    """The chips half."""

    status: Status
    tier: ChipTier
    items: tuple[Chip, ...] = ()


@dataclass(frozen=True, slots=True)
class Degradation:
    """A part that had to come from a lower tier, and why."""

    part: Literal["links", "chips"]
    origin: str
    to: str
    reason: Literal["deadline", "failed", "rejected", "overload"]


@dataclass(frozen=True, slots=True)
class CacheState:
    """Whether a part came out of the cache, and how old it is, in seconds."""

    status: Literal["hit", "stale", "miss", "none"] = "none"
    age_s: float = 0.0


@dataclass(frozen=True, slots=True)
class Cache:
    """The cache's share in an answer."""

    links: CacheState = CacheState()
    chips: CacheState = CacheState()


@dataclass(frozen=True, slots=True)
class Timing:
    """Milliseconds."""

    budget_ms: int
    total_ms: float
    links_ms: float = 0.0
    chips_ms: float = 0.0


@dataclass(frozen=True, slots=True)
class Suggestions:
    """An answer of the main screen."""

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
