"""What a frontend may ask, with its limits; unknown fields are refused by name."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Annotated, Any, Literal
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import BaseModel, ConfigDict, Field, model_validator

from hamlet.core.errors import BadRequest
from hamlet.core.text import Language, language
from hamlet.suggest import Ask, Message
from hamlet.suggest.model import Surface

_MOST_TALK = 16_000
_DEFAULT_CHARS = {"ko": 24, "ja": 24, "en": 40}
_ZONES: dict[Language, str] = {"ko": "Asia/Seoul", "ja": "Asia/Tokyo", "en": "UTC"}


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid")


class Turn(_Part):
    """One message of the chat."""

    role: Literal["user", "assistant"]
    content: str = Field(max_length=4000)


class Page(_Part):
    """What the user reads. Untrusted."""

    url: str = Field(default="", max_length=2048)
    title: str = Field(default="", max_length=300)
    text: str = Field(default="", max_length=8000)


class Context(_Part):
    """What there is to suggest for."""

    surface: Surface | None = None
    query: str = Field(default="", max_length=512)
    draft: str = Field(default="", max_length=512)
    messages: list[Turn] = Field(default_factory=list, max_length=20)
    page: Page | None = None
    exclude: list[Annotated[str, Field(max_length=200)]] = Field(
        default_factory=list, max_length=50
    )

    @model_validator(mode="after")
    def _not_too_much(self) -> Context:
        if sum(len(turn.content) for turn in self.messages) > _MOST_TALK:
            raise ValueError(f"messages: over {_MOST_TALK} characters together")
        return self


class Locale(_Part):
    """Whose language and clock."""

    lang: Literal["ko", "en", "ja", "auto"] = "auto"
    country: str | None = Field(default=None, pattern=r"^[A-Z]{2}$")
    tz: str | None = Field(default=None, max_length=64)


class LinkWish(_Part):
    """How many links, and how many of one host."""

    limit: int = Field(default=6, ge=1, le=12)
    max_per_host: int = Field(default=2, ge=1, le=5)


class ChipWish(_Part):
    """How many chips, how long, of which kinds. Lengths count characters."""

    limit: int = Field(default=4, ge=1, le=8)
    max_chars: int | None = Field(default=None, ge=8, le=60)
    kinds: list[Annotated[str, Field(max_length=32)]] = Field(default_factory=list, max_length=10)
    action: Literal["fill", "submit"] = "fill"


class SuggestRequest(_Part):
    """The body of `POST /v1/suggest`."""

    include: list[Literal["links", "chips"]] = ["links", "chips"]
    context: Context = Context()
    locale: Locale = Locale()
    links: LinkWish = LinkWish()
    chips: ChipWish = ChipWish()
    budget_ms: int = Field(default=800, ge=20, le=10_000)

    def ask(self, headers: Mapping[str, str]) -> Ask:
        """The use case's own words for it."""
        context = self.context
        page = context.page or Page()
        tongue = self._language(headers.get("accept-language", ""))
        return Ask(
            language=tongue,
            surface=context.surface or self._surface(),
            query=context.query,
            draft=context.draft,
            messages=tuple(Message(t.role, t.content) for t in context.messages[-6:]),
            page_title=page.title,
            page_text=page.text[:4000],
            exclude=frozenset(context.exclude),
            want_links="links" in self.include,
            want_chips="chips" in self.include,
            link_limit=self.links.limit,
            max_per_host=self.links.max_per_host,
            chip_limit=self.chips.limit,
            chip_chars=self.chips.max_chars or _DEFAULT_CHARS[tongue],
            chip_kinds=frozenset(self.chips.kinds),
            action=self.chips.action,
            hour=hour_in(self.locale.tz, tongue),
            budget_ms=min(self.budget_ms, _header_budget(headers)),
        )

    def _language(self, accepted: str) -> Language:
        """Said outright, else as the user writes, else as the browser asks."""
        if self.locale.lang != "auto":
            return self.locale.lang
        context = self.context
        own = [t.content for t in context.messages if t.role == "user"]
        latest = context.query or context.draft or (own[-1] if own else "")
        return language(latest) or preferred(accepted)

    def _surface(self) -> Surface:
        if self.context.messages:
            return "chat"
        if self.context.query or self.context.draft:
            return "search"
        return "page" if self.context.page else "home"


def from_query(query: Mapping[str, str], *, with_text: bool) -> SuggestRequest:
    """The GET form. Raises BadRequest for a parameter that is not known, ValidationError else."""
    known = _PARAMETERS | (_TEXT_PARAMETERS if with_text else {})
    if strangers := sorted(query.keys() - known.keys()):
        raise BadRequest(f"unknown parameter: {strangers[0][:64]}")
    fields: dict[str, dict[str, Any]] = {}
    for name, value in query.items():
        for section, field in known[name]:
            fields.setdefault(section, {})[field] = value
    return SuggestRequest.model_validate(fields)


_PARAMETERS = {
    "lang": (("locale", "lang"),),
    "tz": (("locale", "tz"),),
    "surface": (("context", "surface"),),
}
_TEXT_PARAMETERS = {
    "q": (("context", "query"),),
    "limit": (("links", "limit"), ("chips", "limit")),
}


def _header_budget(headers: Mapping[str, str]) -> int:
    given = headers.get("x-request-budget-ms", "")
    return max(20, int(given)) if given.isascii() and given.isdigit() else 10_000


def preferred(accepted: str) -> Language:
    """The first of our languages in an Accept-Language header; English if there is none."""
    ours: dict[str, Language] = {"ko": "ko", "en": "en", "ja": "ja"}
    for part in accepted.split(","):
        tag = part.partition(";")[0].strip().lower().partition("-")[0]
        if tag in ours:
            return ours[tag]
    return "en"


def hour_in(zone: str | None, tongue: Language) -> int:
    """The hour of day there; a zone that is not one counts as the language's usual."""
    try:
        return datetime.now(ZoneInfo(zone or _ZONES[tongue])).hour
    except (ZoneInfoNotFoundError, ValueError, OSError):
        return datetime.now(UTC).hour
