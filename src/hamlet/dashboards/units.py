"""Numbers as people read them, by Grafana's names of units."""

from __future__ import annotations

import math
from collections.abc import Callable

_BYTES = ("B", "KiB", "MiB", "GiB", "TiB")
_SHORT = ("", "k", "M", "G")


def shown(value: float, unit: str, decimals: int | None = None) -> str:
    """A number with its unit; "-" if there is none."""
    if math.isnan(value) or math.isinf(value):
        return "-"
    if unit == "none" and decimals is not None and abs(value) < 1000:
        return f"{value:.{decimals}f}"
    return _FORMS.get(unit, _plain)(value)


def _plain(value: float) -> str:
    return _scaled(value, 1000, _SHORT)


def _scaled(value: float, by: int, names: tuple[str, ...]) -> str:
    step = 0
    while abs(value) >= by and step < len(names) - 1:
        value, step = value / by, step + 1
    text = f"{value:.0f}" if abs(value) >= 100 else f"{value:.3g}"
    return f"{text}{' ' if by == 1024 else ''}{names[step]}"


def _seconds(value: float) -> str:
    if value == 0:
        return "0 s"
    if abs(value) < 1e-3:
        return f"{value * 1e6:.0f} µs"
    if abs(value) < 1:
        return f"{value * 1e3:.3g} ms"
    return f"{value:.3g} s" if abs(value) < 120 else f"{value / 60:.3g} min"


def _part(value: float) -> str:
    percent = value * 100
    return f"{percent:.0f} %" if percent == round(percent) or percent >= 10 else f"{percent:.2f} %"


def _dollars(value: float) -> str:
    return f"${value:,.2f}" if abs(value) >= 0.1 or value == 0 else f"${value:.3g}"


_FORMS: dict[str, Callable[[float], str]] = {
    "s": _seconds,
    "percentunit": _part,
    "bytes": lambda value: _scaled(value, 1024, _BYTES),
    "Bps": lambda value: _scaled(value, 1024, _BYTES) + "/s",
    "reqps": lambda value: _plain(value) + "/s",
    "currencyUSD": _dollars,
}
