"""Plots as inline SVG: lines over a linear or logarithmic axis, nothing else needed to see them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from html import escape

Points = Sequence[tuple[float, float]]

_COLOURS = ("#c2410c", "#2563eb", "#15803d", "#7c3aed", "#64748b")
_W, _H, _LEFT, _BOTTOM, _TOP = 620, 220, 62, 28, 12
_CHARACTER, _ROW = 6.5, 14


def plot(
    title: str, lines: dict[str, Points], *, x: str = "s", y: str = "", log_x: bool = False
) -> str:
    """One figure. Points whose y is no number are left out."""
    drawable = {
        name: [(a, b) for a, b in points if math.isfinite(b) and (a > 0 or not log_x)]
        for name, points in lines.items()
    }
    all_points = [point for points in drawable.values() for point in points]
    if not all_points:
        return f"<figure><figcaption>{escape(title)}</figcaption><p>nothing to show</p></figure>"
    scale_x = _Axis([a for a, _ in all_points], _LEFT, _W - 10, log=log_x)
    scale_y = _Axis([0.0, *(b for _, b in all_points)], _H - _BOTTOM, _TOP)
    body = [_grid(scale_x, scale_y, x, y)]
    for i, points in enumerate(drawable.values()):
        colour = _COLOURS[i % len(_COLOURS)]
        path = " ".join(f"{scale_x(a):.1f},{scale_y(b):.1f}" for a, b in points)
        body.append(f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="1.6"/>')
    legend, height = _legend(list(drawable))
    return (
        f"<figure><figcaption>{escape(title)}</figcaption>"
        f'<svg viewBox="0 0 {_W} {height}" role="img" aria-label="{escape(title)}">'
        f"{''.join(body)}{legend}</svg></figure>"
    )


def _legend(names: Sequence[str]) -> tuple[str, int]:
    """The lines' names beneath the plot, where no line can run, and how high that makes it all."""
    parts, x, y = [], float(_LEFT), _H + 4
    for i, name in enumerate(names):
        text_width = _CHARACTER * len(name)
        if x > _LEFT and x + text_width > _W - 10:
            x, y = float(_LEFT), y + _ROW
        colour = _COLOURS[i % len(_COLOURS)]
        parts.append(f'<text x="{x:.1f}" y="{y}" fill="{colour}">{escape(name)}</text>')
        x += text_width + 2 * _CHARACTER
    return "".join(parts), y + 6


class _Axis:
    def __init__(
        self, values: Sequence[float], start: float, end: float, log: bool = False
    ) -> None:
        self._log = log
        self.low, self.high = min(values), max(values)
        if self.high <= self.low:
            self.high = self.low + 1
        self._start, self._span = start, end - start

    def __call__(self, value: float) -> float:
        low, high, position = self.low, self.high, value
        if self._log:
            low, high, position = math.log10(low), math.log10(high), math.log10(position)
        return self._start + (position - low) / (high - low) * self._span

    def ticks(self) -> list[float]:
        if self._log:
            first, last = math.floor(math.log10(self.low)), math.ceil(math.log10(self.high))
            marks = [m * 10**e for e in range(first, last + 1) for m in (1, 2, 5)]
        else:
            size = 10 ** math.floor(math.log10((self.high - self.low) / 4))
            step = next(s * size for s in (1, 2, 5, 10) if (self.high - self.low) / (s * size) <= 6)
            first = math.ceil(self.low / step)
            marks = [i * step for i in range(first, int(self.high / step) + 1)]
        return [mark for mark in marks if self.low <= mark <= self.high]


def _grid(x: _Axis, y: _Axis, x_name: str, y_name: str) -> str:
    parts = []
    for mark in y.ticks():
        at = y(mark)
        parts.append(
            f'<line x1="{_LEFT}" x2="{_W - 10}" y1="{at:.1f}" y2="{at:.1f}" stroke="#e5e7eb"/>'
        )
        parts.append(f'<text x="{_LEFT - 6}" y="{at + 4:.1f}" text-anchor="end">{mark:g}</text>')
    # The unit stands at the end of the same line, and needs its place.
    tick_limit = _W - 10 - _CHARACTER * (len(x_name) + 1)
    for mark in x.ticks():
        if x(mark) + _CHARACTER * len(f"{mark:g}") / 2 < tick_limit:
            text = f'<text x="{x(mark):.1f}" y="{_H - 10}" text-anchor="middle">{mark:g}</text>'
            parts.append(text)
    parts.append(
        f'<text x="{_W - 10}" y="{_H - 10}" text-anchor="end" fill="#6b7280">{escape(x_name)}</text>'
    )
    parts.append(f'<text x="4" y="{_TOP}" fill="#6b7280">{escape(y_name)}</text>')
    return "".join(parts)
