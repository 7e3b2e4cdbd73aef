"""The main screen's use case: related links and dynamic chips."""

from hamlet.suggest.model import Ask, Chip, Draft, Link, Message, Suggestions
from hamlet.suggest.pool import Pool
from hamlet.suggest.service import SuggestService
from hamlet.suggest.writer import ChipWriter

__all__ = [
    "Ask",
    "Chip",
    "ChipWriter",
    "Draft",
    "Link",
    "Message",
    "Pool",
    "SuggestService",
    "Suggestions",
]
