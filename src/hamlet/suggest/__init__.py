"""The main screen: related links and chips for a context, as a vertical package of hamlet."""

from hamlet.suggest.cache import CacheStore, RedisStore, ResponseCache, SwrCache, key_hasher
from hamlet.suggest.chips.bank import ChipBank
from hamlet.suggest.chips.explorer import Explorer
from hamlet.suggest.chips.suggester import ChipSuggester
from hamlet.suggest.chips.writer import ChipWriter
from hamlet.suggest.content_editor import ContentEditor
from hamlet.suggest.event_store import EventStore
from hamlet.suggest.item_tokens import TokenSigner
from hamlet.suggest.links.suggester import LinkSuggester
from hamlet.suggest.links.web_search import WebSearch
from hamlet.suggest.model import (
    AllowedTiers,
    ChatTurn,
    Chip,
    Draft,
    Link,
    Suggestions,
    SuggestRequest,
)
from hamlet.suggest.served_content import ContentHolder, ServedContent
from hamlet.suggest.service import SuggestService

__all__ = [
    "AllowedTiers",
    "CacheStore",
    "ChatTurn",
    "Chip",
    "ChipBank",
    "ChipSuggester",
    "ChipWriter",
    "ContentEditor",
    "ContentHolder",
    "Draft",
    "EventStore",
    "Explorer",
    "Link",
    "LinkSuggester",
    "RedisStore",
    "ResponseCache",
    "ServedContent",
    "SuggestRequest",
    "SuggestService",
    "Suggestions",
    "SwrCache",
    "TokenSigner",
    "WebSearch",
    "key_hasher",
]
