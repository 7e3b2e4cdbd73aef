"""Topics for which only approved items are shown, and pages that try to give orders."""

from __future__ import annotations

import re
from dataclasses import replace

from hamlet.suggest.chips.validation import apart
from hamlet.suggest.model import Ask

_CRISIS = re.compile(
    r"(?i)죽고\s*싶|자살|자해|목숨을\s*끊|살기\s*싫|死にたい|自殺|自傷|消えたい|"
    r"kill myself|suicid|self[- ]?harm|want to die|end my life|hurt myself"
)


def in_crisis(text: str) -> bool:
    """Whether someone may be in danger: then help lines, and nothing else."""
    return bool(_CRISIS.search(text))


def without_orders(ask: Ask) -> Ask:
    """The ask, its page without the sentences that try to give orders."""
    title, in_title = apart(ask.page_title)
    text, in_text = apart(ask.page_text)
    orders = f"{in_title} {in_text}".strip()
    return replace(ask, page_title=title, page_text=text, orders=orders) if orders else ask
