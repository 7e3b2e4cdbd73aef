"""Warnings for public names that have changed. An old name works for one more release."""

from __future__ import annotations

import warnings

_warned: set[str] = set()


def warn_renamed(old: str, new: str, stacklevel: int = 3) -> None:
    """Warn once per process that `old` is called `new` now.

    `stacklevel` counts frames as warnings.warn does: 3 is the caller of who calls this.
    """
    if old not in _warned:
        _warned.add(old)
        text = f"{old} is now {new}; the old name works until the next release"
        warnings.warn(text, DeprecationWarning, stacklevel=stacklevel)
