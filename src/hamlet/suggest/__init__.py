"""The main screen's use case: related links and dynamic chips."""

from hamlet.suggest.chips import ChipBank
from hamlet.suggest.dynamic import DynamicChips
from hamlet.suggest.editor import Editor
from hamlet.suggest.events import EventStore
from hamlet.suggest.explore import Explorer
from hamlet.suggest.model import Allow, Ask, Chip, Draft, Link, Message, Suggestions
from hamlet.suggest.pool import Pool, Store
from hamlet.suggest.redis_store import RedisStore
from hamlet.suggest.related import RelatedLinks
from hamlet.suggest.service import SuggestService, digest
from hamlet.suggest.tokens import Signer
from hamlet.suggest.web import WebSearch
from hamlet.suggest.writer import ChipWriter

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
