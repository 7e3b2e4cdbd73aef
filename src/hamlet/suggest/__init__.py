"""The main screen's use case: related links and dynamic chips."""

from hamlet.suggest.chips.bank import ChipBank
from hamlet.suggest.chips.dynamic import DynamicChips
from hamlet.suggest.chips.explorer import Explorer
from hamlet.suggest.chips.writer import ChipWriter
from hamlet.suggest.editor import Editor
from hamlet.suggest.events import EventStore
from hamlet.suggest.links.related import RelatedLinks
from hamlet.suggest.links.web_search import WebSearch
from hamlet.suggest.model import Allow, Ask, Chip, Draft, Link, Message, Suggestions
from hamlet.suggest.redis_store import RedisStore
from hamlet.suggest.service import SuggestService, digest
from hamlet.suggest.swr_cache import Pool, Store
from hamlet.suggest.tokens import Signer

__all__ = [
    "Allow",
    "Ask",
    "Chip",
    "ChipBank",
    "ChipWriter",
    "Draft",
    "DynamicChips",
    "Editor",
    "EventStore",
    "Explorer",
    "Link",
    "Message",
    "Pool",
    "RedisStore",
    "RelatedLinks",
    "Signer",
    "Store",
    "SuggestService",
    "Suggestions",
    "WebSearch",
    "digest",
]
