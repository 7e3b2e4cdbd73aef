"""The main screen's use case: related links and dynamic chips."""

from hamlet.suggest.events import EventStore
from hamlet.suggest.model import Ask, Chip, Draft, Link, Message, Suggestions
from hamlet.suggest.pool import Pool
from hamlet.suggest.service import SuggestService
from hamlet.suggest.tokens import Signer
from hamlet.suggest.writer import ChipWriter

__all__ = [
    "Ask",
    "Chip",
    "ChipWriter",
    "Draft",
    "EventStore",
    "Link",
    "Message",
    "Pool",
    "Signer",
    "SuggestService",
    "Suggestions",
]
