"""Two runs of the same schedule side by side: quantile differences with bootstrap intervals."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path

from loadtest.outcome import Run, quantile
from loadtest.plots import plot
from loadtest.report import cdf, page

QUANTILES = (0.1, 0.25, 0.5, 0.75, 0.9, 0.95, 0.99)
_DRAWS = 400


@dataclass(frozen=True, slots=True)
class Change:
    """How a quantile differs from one set of times to another, with 95 % intervals by bootstrap.

    `share` is relative, `ms` in milliseconds; both are (seen, low, high).
    """

    quantile: float
    share: tuple[float, float, float]
    ms: tuple[float, float, float]

    def told(self) -> str:
        """As text."""
        return "{:+.1%} [{:+.1%}, {:+.1%}]".format(*self.share) + (
            ", {:+.1f} ms [{:+.1f}, {:+.1f}]".format(*self.ms)
        )


def changes(
    a: Sequence[float], b: Sequence[float], quantiles: Sequence[float] = QUANTILES, seed: int = 1
) -> list[Change]:
    """What changes from `a` to `b` (seconds) at each quantile.

    Raises ValueError if either is empty.
    """
    if not a or not b:
        raise ValueError("nothing to compare")
    rng = random.Random(seed)
    drawn = [
        (_at(rng.choices(a, k=len(a)), quantiles), _at(rng.choices(b, k=len(b)), quantiles))
        for _ in range(_DRAWS)
    ]
    seen = (_at(a, quantiles), _at(b, quantiles))
    return [_change(q, i, seen, drawn) for i, q in enumerate(quantiles)]


_Pair = tuple[list[float], list[float]]


def _at(values: Sequence[float], quantiles: Sequence[float]) -> list[float]:
    known = sorted(values)
    return [known[min(len(known) - 1, math.ceil(q * len(known)) - 1)] for q in quantiles]


def _change(q: float, i: int, seen: _Pair, drawn: Sequence[_Pair]) -> Change:
    def figure(value: Callable[[float, float], float]) -> tuple[float, float, float]:
        spread = sorted(value(first[i], second[i]) for first, second in drawn)
        low, high = spread[int(0.025 * _DRAWS)], spread[int(0.975 * _DRAWS) - 1]
        return value(seen[0][i], seen[1][i]), low, high

    return Change(q, figure(lambda x, y: y / max(x, 1e-9) - 1), figure(lambda x, y: (y - x) * 1000))


def write(a: Run, b: Run, out: Path) -> str:
    """Write the comparison as HTML and give it as text. Raises ValueError for unlike schedules."""
    if (a.scenario, a.size, a.seed) != (b.scenario, b.size, b.seed):
        raise ValueError("the runs have different schedules")
    lines, rows = [f"{a.scenario}: A {a.target}, B {b.target}"], []
    for what in ("latency", "ttft"):
        first, second = _of(a, what), _of(b, what)
        for each in changes(first, second):
            name = f"p{each.quantile * 100:g}"
            lines.append(f"  {what} {name}: {each.told()}")
            rows.append(f"<tr><td>{what}</td><td>{name}</td><td>{each.told()}</td></tr>")
    for name, run in (("A", a), ("B", b)):
        lines.append(f"  {name}: {dict(run.errors())}")
        if run.invalid:
            lines.append(f"  {name} is INVALID: {run.invalid}")
    out.write_text(page(f"{a.scenario}: B against A", _body(a, b, rows, lines)), "utf-8")
    return "\n".join(lines)


def _of(run: Run, what: str) -> list[float]:
    return [getattr(s, what) for s in run.of() if s.outcome == "ok"]


def _body(a: Run, b: Run, rows: list[str], lines: list[str]) -> str:
    shares = [i / 100 for i in range(2, 100)]
    plots = []
    for what, title in (("latency", "Latency"), ("ttft", "Time to first content")):
        first, second = _of(a, what), _of(b, what)
        gap = [((quantile(second, q) or 0) - (quantile(first, q) or 0)) * 1000 for q in shares]
        plots.append(
            plot(f"{title}: share below", {"A": cdf(first), "B": cdf(second)}, x="ms", log_x=True)
        )
        plots.append(
            plot(
                f"{title}: B less A by share",
                {"B - A": list(zip(shares, gap, strict=True))},
                x="share",
                y="ms",
            )
        )
    head = "<tr><th>what</th><th>quantile</th><th>change from A to B, 95 % interval</th></tr>"
    return (
        f"<p>A: {escape(a.target)} ({escape(a.commit)}). B: {escape(b.target)} ({escape(b.commit)}).</p>"
        f"<table>{head}{''.join(rows)}</table><pre>{escape(chr(10).join(lines))}</pre>"
        f'<div class="plots">{"".join(plots)}</div>'
    )
