"""Topics for which only approved items are shown, and pages that try to give orders."""

from __future__ import annotations

import re
from dataclasses import replace

from hamlet.suggest.chips.validation import split_injections
from hamlet.suggest.model import SuggestRequest

_CRISIS = re.compile(
    r"(?i)죽고\s*싶|자살|자해|목숨을\s*끊|살기\s*싫|死にたい|自殺|自傷|消えたい|"
    r"kill myself|suicid|self[- ]?harm|want to die|end my life|hurt myself"
)


def mentions_crisis(text: str) -> bool:
    """Whether someone may be in danger: then help lines, and nothing else."""
    return bool(_CRISIS.search(text))


def strip_injections(ask: SuggestRequest) -> SuggestRequest:
    """The ask, its page without the sentences that try to give orders."""
    title, title_injection = split_injections(ask.page_title)
    text, text_injection = split_injections(ask.page_text)
    injected_text = f"{title_injection} {text_injection}".strip()
    return (
        replace(ask, page_title=title, page_text=text, injected_text=injected_text)
        if injected_text
        else ask
    )
