"""Two runs of the same schedule side by side: quantile differences with bootstrap intervals."""

from __future__ import annotations

import random
from collections.abc import Sequence
from html import escape
from pathlib import Path

from loadtest.outcome import Run, quantile
from loadtest.plots import plot
from loadtest.report import cdf, page

QUANTILES = (0.1, 0.25, 0.5, 0.75, 0.9, 0.95, 0.99)
_DRAWS = 400


def change(
    a: Sequence[float], b: Sequence[float], q: float, seed: int = 1
) -> tuple[float, float, float]:
    """The relative change of a quantile from `a` to `b`, and its 95 % interval by bootstrap.

    Raises ValueError if either is empty.
    """
    before, after = quantile(a, q), quantile(b, q)
    if not before or after is None:
        raise ValueError("nothing to compare")
    rng = random.Random(seed)
    drawn = []
    for _ in range(_DRAWS):
        first, second = quantile(rng.choices(a, k=len(a)), q), quantile(rng.choices(b, k=len(b)), q)
        drawn.append((second or 0.0) / (first or 1e-9) - 1)
    drawn.sort()
    return after / before - 1, drawn[int(0.025 * _DRAWS)], drawn[int(0.975 * _DRAWS) - 1]


def write(a: Run, b: Run, out: Path) -> str:
    """Write the comparison as HTML and give it as text. Raises ValueError for unlike schedules."""
    if (a.scenario, a.size, a.seed) != (b.scenario, b.size, b.seed):
        raise ValueError("the runs have different schedules")
    lines, rows = [f"{a.scenario}: A {a.target}, B {b.target}"], []
    for what in ("latency", "ttft"):
        first, second = _of(a, what), _of(b, what)
        for q in QUANTILES:
            middle, low, high = change(first, second, q)
            text = f"{middle:+.1%} [{low:+.1%}, {high:+.1%}]"
            lines.append(f"  {what} p{q * 100:g}: {text}")
            rows.append(f"<tr><td>{what}</td><td>p{q * 100:g}</td><td>{text}</td></tr>")
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
