"""Compare two runs of the same schedule: quantile differences with bootstrap intervals."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from hamlet.reporting.html import escape, table
from loadtest.engine.charts import plot
from loadtest.engine.quantiles import quantile, sorted_quantile
from loadtest.engine.report import cdf, html_page
from loadtest.engine.results import RunResult

QUANTILES = (0.1, 0.25, 0.5, 0.75, 0.9, 0.95, 0.99)
_RESAMPLES = 400


@dataclass(frozen=True, slots=True)
class QuantileChange:
    """How a quantile differs between two sets of times, with 95 % intervals by bootstrap.

    Both changes are (measured, low, high).
    """

    quantile: float
    relative: tuple[float, float, float]
    absolute_ms: tuple[float, float, float]

    def summary(self) -> str:
        """As text."""
        return "{:+.1%} [{:+.1%}, {:+.1%}]".format(*self.relative) + (
            ", {:+.1f} ms [{:+.1f}, {:+.1f}]".format(*self.absolute_ms)
        )


def quantile_changes(
    a: Sequence[float], b: Sequence[float], quantiles: Sequence[float] = QUANTILES, seed: int = 1
) -> list[QuantileChange]:
    """The change from `a` to `b` (seconds) at each quantile.

    Raises ValueError if either is empty.
    """
    if not a or not b:
        raise ValueError("nothing to compare")
    rng = random.Random(seed)
    resampled = [
        (
            _quantiles_of(rng.choices(a, k=len(a)), quantiles),
            _quantiles_of(rng.choices(b, k=len(b)), quantiles),
        )
        for _ in range(_RESAMPLES)
    ]
    observed = (_quantiles_of(a, quantiles), _quantiles_of(b, quantiles))
    return [_change(q, i, observed, resampled) for i, q in enumerate(quantiles)]


_Pair = tuple[list[float], list[float]]


def _quantiles_of(values: Sequence[float], quantiles: Sequence[float]) -> list[float]:
    known = sorted(values)
    return [sorted_quantile(known, q) for q in quantiles]


def _change(q: float, i: int, observed: _Pair, resampled: Sequence[_Pair]) -> QuantileChange:
    def with_interval(value: Callable[[float, float], float]) -> tuple[float, float, float]:
        resampled_values = sorted(value(first[i], second[i]) for first, second in resampled)
        low, high = (
            resampled_values[int(0.025 * _RESAMPLES)],
            resampled_values[int(0.975 * _RESAMPLES) - 1],
        )
        return value(observed[0][i], observed[1][i]), low, high

    return QuantileChange(
        q,
        with_interval(lambda x, y: y / max(x, 1e-9) - 1),
        with_interval(lambda x, y: (y - x) * 1000),
    )


def write_comparison(a: RunResult, b: RunResult, out: Path) -> str:
    """Write the comparison as HTML; the same as text. Raises ValueError for different schedules."""
    if (a.scenario, a.size, a.seed) != (b.scenario, b.size, b.seed):
        raise ValueError("the runs have different schedules")
    lines = [f"{a.scenario}: A {a.target}, B {b.target}"]
    rows: list[tuple[str, str, str]] = []
    for what in ("latency", "ttft"):
        first, second = _values(a, what), _values(b, what)
        for each in quantile_changes(first, second):
            name = f"p{each.quantile * 100:g}"
            lines.append(f"  {what} {name}: {each.summary()}")
            rows.append((what, name, each.summary()))
    for name, run in (("A", a), ("B", b)):
        lines.append(f"  {name}: {dict(run.outcome_counts())}")
        if run.invalid:
            lines.append(f"  {name} is INVALID: {run.invalid}")
    out.write_text(html_page(f"{a.scenario}: B against A", _body(a, b, rows, lines)), "utf-8")
    return "\n".join(lines)


def _values(run: RunResult, what: str) -> list[float]:
    return [getattr(s, what) for s in run.samples_of() if s.outcome == "ok"]


def _body(a: RunResult, b: RunResult, rows: Sequence[Sequence[str]], lines: Sequence[str]) -> str:
    shares = [i / 100 for i in range(2, 100)]
    plots = []
    for what, title in (("latency", "Latency"), ("ttft", "Time to first content")):
        first, second = _values(a, what), _values(b, what)
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
    head = ("what", "quantile", "change from A to B, 95 % interval")
    return (
        f"<p>A: {escape(a.target)} ({escape(a.commit)}). B: {escape(b.target)} ({escape(b.commit)}).</p>"
        f"{table(head, rows)}<pre>{escape(chr(10).join(lines))}</pre>"
        f'<div class="charts">{"".join(plots)}</div>'
    )
