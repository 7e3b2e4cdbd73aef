"""The main screen's use case: related links and dynamic chips."""

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
from hamlet.suggest.redis_store import RedisStore
from hamlet.suggest.service import SuggestService, key_hasher
from hamlet.suggest.swr_cache import CacheStore, SwrCache

__all__ = [
    "AllowedTiers",
    "CacheStore",
    "ChatTurn",
    "Chip",
    "ChipBank",
    "ChipSuggester",
    "ChipWriter",
    "ContentEditor",
    "Draft",
    "EventStore",
    "Explorer",
    "Link",
    "LinkSuggester",
    "RedisStore",
    "SuggestRequest",
    "SuggestService",
    "Suggestions",
    "SwrCache",
    "TokenSigner",
    "WebSearch",
    "key_hasher",
]
