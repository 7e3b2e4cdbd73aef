"""Links and chips that need no web search and no model: shipped, or from packs of the operator."""

from hamlet.suggest.content.packs import (
    Content,
    Manifest,
    PackError,
    load_content,
    save_health,
    save_pack,
    save_pins,
    shipped_chips,
    shipped_links,
)
from hamlet.suggest.content.pins import Pin, find_pin
from hamlet.suggest.content.row_parser import BadRow, check_link, parse_rows
from hamlet.suggest.content.rows import CRISIS_TOPIC, LANGUAGES, ChipRow, LinkRow, PackKind

__all__ = [
    "CRISIS_TOPIC",
    "LANGUAGES",
    "BadRow",
    "ChipRow",
    "Content",
    "LinkRow",
    "Manifest",
    "PackError",
    "PackKind",
    "Pin",
    "check_link",
    "find_pin",
    "load_content",
    "parse_rows",
    "save_health",
    "save_pack",
    "save_pins",
    "shipped_chips",
    "shipped_links",
]
