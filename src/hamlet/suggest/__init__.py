"""The main screen's use case: related links and dynamic chips."""

from hamlet.suggest.model import Ask, Chip, Link, Message, Suggestions
from hamlet.suggest.service import SuggestService

__all__ = ["Ask", "Chip", "Link", "Message", "SuggestService", "Suggestions"]
