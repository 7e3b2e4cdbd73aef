"""The content that is being served, which an editor or a reload replaces as a whole."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from hamlet.spi.sources import SupportsSearch
from hamlet.suggest.chips.bank import ChipBank
from hamlet.suggest.content import Pin


@dataclass(frozen=True, slots=True)
class ServedContent:
    """The indexes of links and chips, and the pins."""

    catalogue: SupportsSearch
    bank: ChipBank
    pins: Sequence[Pin] = ()


class ContentHolder:
    """Holds the content in use. Readers take `current` anew for each request."""

    def __init__(self, current: ServedContent) -> None:
        self.current = current
