"""One row of a pack: a link or a chip, in up to three languages."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from hamlet.core.text import Language

LANGUAGES: tuple[Language, ...] = ("ko", "en", "ja")
CRISIS_TOPIC = "crisis"
"""Marks the help lines and intents that are shown in a crisis, and only then."""
PackKind = Literal["links", "chips"]
LinkKind = Literal["official", "news", "encyclopedia", "doc", "video", "community", "shop", "other"]
ChipKind = Literal[
    "starter",
    "followup",
    "deepen",
    "compare",
    "howto",
    "summarise",
    "translate",
    "clarify",
    "trending",
    "action",
]
Title = Annotated[str, Meta(min_length=1, max_length=120, pattern=r"^[^\x00-\x1f<>]+$")]
Line = Annotated[str, Meta(max_length=200, pattern=r"^[^\x00-\x1f<>]*$")]
Label = Annotated[str, Meta(min_length=1, max_length=60)]
Prompt = Annotated[str, Meta(min_length=1, max_length=300)]
Word = Annotated[str, Meta(min_length=1, max_length=32)]
Words = Annotated[list[Word], Meta(max_length=8)]


class LinkRow(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A link. Texts are by language; a missing language is replaced by another."""

    url: Annotated[str, Meta(max_length=2048)]
    title: Annotated[dict[Language, Title], Meta(min_length=1)]
    text: dict[Language, Line] = {}
    tags: dict[Language, Line] = {}
    site_lang: Language = "en"
    kind: LinkKind = "other"
    topics: Words = []
    icon: Word = "globe"
    id: str = ""
    license: str | None = None

    @property
    def key(self) -> str:
        """Unique in a pack: the id, or a hash of the URL."""
        return self.id or hashlib.blake2b(self.url.encode(), digest_size=8).hexdigest()


class ChipRow(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A chip: its label and its prompt, both in the same languages."""

    text: Annotated[dict[Language, Label], Meta(min_length=1)]
    prompt: Annotated[dict[Language, Prompt], Meta(min_length=1)]
    kind: ChipKind = "followup"
    topics: Words = []
    icon: Word = "spark"
    surfaces: tuple[Literal["home", "search", "chat", "page"], ...] = ("search", "chat")
    tags: dict[Language, Line] = {}
    hours: tuple[Annotated[int, Meta(ge=0, le=24)], Annotated[int, Meta(ge=0, le=24)]] | None = None
    id: str = ""

    @property
    def key(self) -> str:
        """Unique in a pack: the id, or a hash of the prompts."""
        texts = "\x1f".join(self.prompt.values())
        return self.id or hashlib.blake2b(texts.encode(), digest_size=8).hexdigest()

    def is_for_hour(self, hour: int) -> bool:
        """Whether it suits this hour of the day, 0 to 23. A span may include midnight."""
        if self.hours is None:
            return True
        start, end = self.hours
        return start <= hour <= end if start <= end else hour >= start or hour <= end


Row = LinkRow | ChipRow
ROW_TYPES: Mapping[PackKind, type[LinkRow] | type[ChipRow]] = {"links": LinkRow, "chips": ChipRow}


def localized_text(texts: Mapping[Language, str], language: Language) -> str:
    """The text in a language, else in the first other that has one; "" if none has."""
    return texts.get(language) or next(
        (texts[other] for other in LANGUAGES if texts.get(other)), ""
    )
