"""The request bodies of the main screen and their limits."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Annotated, Any, Literal
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from hamlet.api.body import read_fields
from hamlet.api.http import budget_s
from hamlet.core.errors import BadRequest, TooLarge
from hamlet.core.text import Language, detect_language
from hamlet.spi.sources import Freshness, SafeSearch
from hamlet.suggest import AllowedTiers, ChatTurn, SuggestRequest
from hamlet.suggest.model import Surface

_MAX_MESSAGE_CHARS, _MAX_BODY_BYTES, _MAX_QUERY_CHARS = 16_000, 64 << 10, 200
_BUDGET_MS, _STREAM_BUDGET_MS = 800, 4_000
_SUPPORTED_LANGUAGES: dict[str, Language] = {"ko": "ko", "en": "en", "ja": "ja"}
_DEFAULT_MAX_CHARS = {"ko": 24, "ja": 24, "en": 40}
_ZONES: dict[Language, str] = {"ko": "Asia/Seoul", "ja": "Asia/Tokyo", "en": "UTC"}


class _BodySection(BaseModel):
    """A part of the body. Where a part sets `title`, that is its schema's name in OpenAPI.

    Client generators make type names of schema names, so those stay when a class is renamed.
    """

    # Unknown fields are listed in `warnings`, or refused in strict mode: see parse_body.
    model_config = ConfigDict(extra="ignore")
    # pydantic deep-copies every default that has no hash. These defaults are never modified.
    __hash__ = object.__hash__


class Turn(_BodySection):
    """One message of the chat."""

    role: Literal["user", "assistant"]
    content: str = Field(max_length=4000)


class Page(_BodySection):
    """The page that the user reads. Untrusted."""

    url: str = Field(default="", max_length=2048)
    title: str = Field(default="", max_length=300)
    text: str = Field(default="", max_length=8000)


class Context(_BodySection):
    """The context to suggest for."""

    surface: Surface | None = None
    query: str = Field(default="", max_length=512)
    draft: str = Field(default="", max_length=512)
    messages: list[Turn] = Field(default_factory=list, max_length=20)
    page: Page | None = None
    exclude: list[Annotated[str, Field(max_length=200)]] = Field(
        default_factory=list, max_length=50
    )

    @model_validator(mode="after")
    def _check_message_chars(self) -> Context:
        if sum(len(turn.content) for turn in self.messages) > _MAX_MESSAGE_CHARS:
            raise ValueError(f"messages: over {_MAX_MESSAGE_CHARS} characters together")
        return self


class Locale(_BodySection):
    """The language, country and time zone of the user."""

    lang: str = Field(default="auto", pattern=r"^[A-Za-z]{2,8}(-[A-Za-z0-9]{1,8})*$")
    country: str | None = Field(default=None, pattern=r"^[A-Z]{2}$")
    tz: str | None = Field(default=None, max_length=64)


Host = Annotated[str, Field(pattern=r"^[A-Za-z0-9.-]{1,253}$")]


class LinkOptions(_BodySection):
    """How many links, how many of one host, how recent, and from which hosts."""

    model_config = ConfigDict(title="LinkWish")

    limit: int = Field(default=6, ge=1, le=12)
    max_per_host: int = Field(default=2, ge=1, le=5)
    freshness: Freshness = "any"
    safe: SafeSearch = "moderate"
    include_hosts: list[Host] = Field(default_factory=list, max_length=20)
    exclude_hosts: list[Host] = Field(default_factory=list, max_length=20)


class ChipOptions(_BodySection):
    """How many chips, how long, and of which kinds. Lengths count characters."""

    model_config = ConfigDict(title="ChipWish")

    limit: int = Field(default=4, ge=1, le=8)
    max_chars: int | None = Field(default=None, ge=8, le=60)
    kinds: list[Annotated[str, Field(max_length=32)]] = Field(default_factory=list, max_length=10)
    action: Literal["fill", "submit"] = "fill"


class User(_BodySection):
    """The user, by a pseudonymous id. Ignored where `Sec-GPC: 1` is sent."""

    id: str = Field(default="", pattern=r"^[A-Za-z0-9_-]{0,64}$")
    segment: str = Field(default="", max_length=32)
    interests: list[Annotated[str, Field(max_length=32)]] = Field(
        default_factory=list, max_length=10
    )


class Allowed(_BodySection):
    """Which tiers may be used."""

    llm: bool = True
    web: bool = True
    stale: bool = True
    embedded: bool = True


class SuggestBody(_BodySection):
    """The body of `POST /v1/suggest`. `budget_ms` is 800, or 4000 for a stream, if not given."""

    model_config = ConfigDict(
        title="SuggestRequest",
        json_schema_extra={
            "examples": [
                {"context": {"query": "서울 지하철 막차 시간"}, "locale": {"lang": "ko"}},
                {
                    "context": {
                        "messages": [
                            {"role": "user", "content": "Should I buy an electric car?"},
                            {"role": "assistant", "content": "Compare range and charging."},
                        ]
                    },
                    "chips": {"limit": 4},
                    "budget_ms": 600,
                },
            ]
        },
    )

    include: list[Literal["links", "chips"]] = ["links", "chips"]
    context: Context = Context()
    locale: Locale = Locale()
    links: LinkOptions = LinkOptions()
    chips: ChipOptions = ChipOptions()
    user: User | None = None
    budget_ms: int | None = Field(default=None, ge=20, le=10_000)
    allow: Allowed = Allowed()
    stream: bool = False
    strict: bool = False

    def to_suggest_request(
        self, headers: Mapping[str, str], *, streamed: bool = False, warnings: tuple[str, ...] = ()
    ) -> SuggestRequest:
        """The request of the service, with the defaults that depend on headers and the locale."""
        context, links, allow = self.context, self.links, self.allow
        page = context.page or Page()
        lang, is_unsupported = self._detect_language(headers.get("accept-language", ""))
        budget_ms = self.budget_ms or (_STREAM_BUDGET_MS if streamed else _BUDGET_MS)
        user = User() if headers.get("sec-gpc") == "1" else self.user or User()
        return SuggestRequest(
            language=lang,
            surface=context.surface or self._surface(),
            query=context.query,
            draft=context.draft,
            messages=tuple(ChatTurn(t.role, t.content) for t in context.messages[-6:]),
            page_title=page.title,
            page_text=page.text[:4000],
            exclude=frozenset(context.exclude),
            want_links="links" in self.include,
            want_chips="chips" in self.include,
            link_limit=links.limit,
            max_per_host=links.max_per_host,
            freshness=links.freshness,
            safe=links.safe,
            include_hosts=frozenset(host.lower() for host in links.include_hosts),
            exclude_hosts=frozenset(host.lower() for host in links.exclude_hosts),
            chip_limit=self.chips.limit,
            chip_chars=self.chips.max_chars or _DEFAULT_MAX_CHARS[lang],
            chip_kinds=frozenset(self.chips.kinds),
            action=self.chips.action,
            hour=local_hour(self.locale.tz, lang),
            country=self.locale.country,
            interests=tuple(user.interests),
            allow=AllowedTiers(allow.llm, allow.web, allow.stale, allow.embedded),
            budget_ms=min(budget_ms, _header_budget_ms(headers)),
            warnings=(*warnings, "lang_fallback") if is_unsupported else warnings,
        )

    def _detect_language(self, accepted: str) -> tuple[Language, bool]:
        """The language of the locale, else of the user's text, else of Accept-Language.

        The flag says whether the locale requested a language that is not supported.
        """
        requested = self.locale.lang.lower().partition("-")[0]
        if requested != "auto":
            return _SUPPORTED_LANGUAGES.get(requested, "en"), requested not in _SUPPORTED_LANGUAGES
        context = self.context
        user_turns = [t.content for t in context.messages if t.role == "user"]
        latest = context.query or context.draft or (user_turns[-1] if user_turns else "")
        return detect_language(latest) or preferred_language(accepted), False

    def _surface(self) -> Surface:
        if self.context.messages:
            return "chat"
        if self.context.query or self.context.draft:
            return "search"
        return "page" if self.context.page else "home"


def parse_body(body: bytes) -> tuple[SuggestBody, tuple[str, ...]]:
    """The request in a body, and a warning for each unknown field.

    Raises BadRequest, TooLarge, or ValidationError; in strict mode also for unknown fields.
    """
    if len(body) > _MAX_BODY_BYTES:
        raise TooLarge(f"the body is over {_MAX_BODY_BYTES} bytes")
    read_fields(body)
    try:
        return SuggestBody.model_validate_json(body, extra="forbid"), ()
    except ValidationError as error:
        unknown = [e["loc"] for e in error.errors() if e["type"] == "extra_forbidden"]
        body_model = SuggestBody.model_validate_json(body, extra="ignore")
        if body_model.strict:
            raise
    return body_model, tuple("unknown_field:/" + "/".join(map(str, loc))[:200] for loc in unknown)


def parse_query(query: Mapping[str, str], *, with_text: bool) -> SuggestBody:
    """The GET form. Raises BadRequest for an unknown parameter, or ValidationError."""
    known = _PARAMETERS | (_TEXT_PARAMETERS if with_text else {})
    if len(query.get("q", "")) > _MAX_QUERY_CHARS:
        raise BadRequest(f"q: over {_MAX_QUERY_CHARS} characters; use POST", param="q")
    if unknown := sorted(query.keys() - known.keys()):
        raise BadRequest(f"unknown parameter: {unknown[0][:64]}")
    fields: dict[str, dict[str, Any]] = {}
    for name, value in query.items():
        for section, field in known[name]:
            fields.setdefault(section, {})[field] = value
    return SuggestBody.model_validate(fields)


_PARAMETERS = {
    "lang": (("locale", "lang"),),
    "tz": (("locale", "tz"),),
    "surface": (("context", "surface"),),
}
_TEXT_PARAMETERS = {
    "q": (("context", "query"),),
    "limit": (("links", "limit"), ("chips", "limit")),
}


def _header_budget_ms(headers: Mapping[str, str]) -> int:
    header_s = budget_s(headers)
    return max(20, round(header_s * 1000)) if header_s else 10_000


def preferred_language(accepted: str) -> Language:
    """The first supported language in an Accept-Language header, else English."""
    for part in accepted.split(","):
        tag = part.partition(";")[0].strip().lower().partition("-")[0]
        if tag in _SUPPORTED_LANGUAGES:
            return _SUPPORTED_LANGUAGES[tag]
    return "en"


def local_hour(zone: str | None, lang: Language) -> int:
    """The hour of day in a time zone, without one in the language's; in UTC if it is unknown."""
    try:
        return datetime.now(ZoneInfo(zone or _ZONES[lang])).hour
    except (ZoneInfoNotFoundError, ValueError, OSError):
        return datetime.now(UTC).hour
