"""Topics for which only approved items are shown."""

from __future__ import annotations

import re

_CRISIS = re.compile(
    r"(?i)죽고\s*싶|자살|자해|목숨을\s*끊|살기\s*싫|死にたい|自殺|自傷|消えたい|"
    r"kill myself|suicid|self[- ]?harm|want to die|end my life|hurt myself"
)


def in_crisis(text: str) -> bool:
    """Whether someone may be in danger: then help lines, and nothing else."""
    return bool(_CRISIS.search(text))
