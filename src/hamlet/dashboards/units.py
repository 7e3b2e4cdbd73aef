"""Human-readable numbers with their unit, by Grafana's unit names."""

from __future__ import annotations

import math
from collections.abc import Callable

_BYTES = ("B", "KiB", "MiB", "GiB", "TiB")
_SHORT = ("", "k", "M", "G")


def format_value(value: float, unit: str, decimals: int | None = None) -> str:
    """A number with its unit; "-" for nan and infinity."""
    if math.isnan(value) or math.isinf(value):
        return "-"
    if unit == "none" and decimals is not None and abs(value) < 1000:
        return f"{value:.{decimals}f}"
    return _FORMATTERS.get(unit, _format_short)(value)


def _format_short(value: float) -> str:
    return _format_scaled(value, 1000, _SHORT)


def _format_scaled(value: float, base: int, names: tuple[str, ...]) -> str:
    step = 0
    while abs(value) >= base and step < len(names) - 1:
        value, step = value / base, step + 1
    text = f"{value:.0f}" if abs(value) >= 100 else f"{value:.3g}"
    return f"{text}{' ' if base == 1024 else ''}{names[step]}"


def _format_seconds(value: float) -> str:
    if value == 0:
        return "0 s"
    if abs(value) < 1e-3:
        return f"{value * 1e6:.0f} µs"
    if abs(value) < 1:
        return f"{value * 1e3:.3g} ms"
    return f"{value:.3g} s" if abs(value) < 120 else f"{value / 60:.3g} min"


def _format_percent(value: float) -> str:
    percent = value * 100
    return f"{percent:.0f} %" if percent == round(percent) or percent >= 10 else f"{percent:.2f} %"


def _format_dollars(value: float) -> str:
    return f"${value:,.2f}" if abs(value) >= 0.1 or value == 0 else f"${value:.3g}"


_FORMATTERS: dict[str, Callable[[float], str]] = {
    "s": _format_seconds,
    "percentunit": _format_percent,
    "bytes": lambda value: _format_scaled(value, 1024, _BYTES),
    "Bps": lambda value: _format_scaled(value, 1024, _BYTES) + "/s",
    "reqps": lambda value: _format_short(value) + "/s",
    "currencyUSD": _format_dollars,
}
