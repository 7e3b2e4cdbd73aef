"""What the run of both says: a table, a page, and why."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from html import escape
from pathlib import Path

from loadtest import compare
from loadtest.compare import Change, changes
from loadtest.outcome import Run, quantile
from loadtest.plots import plot
from loadtest.report import cdf, page, write_report
from loadtest.versus.asks import KINDS

QUANTILES = (0.5, 0.95)
ALL, SCREEN = "all", "main screen"
# What is told together: everything, the product's two endpoints, and each kind alone.
GROUPS = {
    ALL: frozenset(KINDS),
    SCREEN: frozenset(("related", "chips")),
    **{kind: frozenset((kind,)) for kind in KINDS},
}
WHY = (
    "hamlet1 is a stand-in: a Node server written for these tests that speaks the old API. Nobody measured the real one here. It does what a "
    "plain monolith does: it has one account of one model, waits until a model has written its chips and a search has ended, and keeps nothing.",
    "What hamlet gains, it gains by design and not by a quicker program: the main screen answers within a budget (800 ms), from its own bank "
    "where the model is late; chat asks the better of the accounts that hamlet knows; links ask two searches at once and take the first that "
    "finds something, which is paid for with twice the searches; the cache finds what was found before. With one account, one search and no "
    "cache only the first is left, so that column's chat and links compare the two programs alone.",
    "Chips that come early are therefore the bank's, not the model's: which came from where is counted below. The accounts are simulated, one "
    "a quarter faster and one a third slower than hamlet1's; with others the gain in chat is another. The length of an answer and the time of "
    "a search are drawn alike for both sides, the speed of an answer for each request anew.",
)


@dataclass
class Arm:
    """One side of the run. `counted` are hamlet's own counters."""

    name: str
    run: Run
    counted: Mapping[str, float]
    # Drawing takes seconds, and is asked for more than once.
    _known: dict[tuple[str, str], list[Change]] = field(default_factory=dict, repr=False)

    @property
    def slug(self) -> str:
        """A name for files."""
        return "-".join(re.findall(r"\w+", self.name))

    def times(self, kind: str, what: str = "latency") -> list[float]:
        """Seconds of the answers of a group that were well."""
        return [
            getattr(s, what)
            for s in self.run.of()
            if s.outcome == "ok" and s.kind in GROUPS[kind] and not math.isnan(getattr(s, what))
        ]

    @cached_property
    def failed(self) -> float:
        """The share of requests that were not answered well."""
        return self.run.figures()["failed_share"] or 0.0

    def against(self, other: Arm, kind: str) -> list[Change]:
        """How this differs from another at the median and the 95th percentile."""
        key = (other.name, kind)
        if key not in self._known:
            self._known[key] = changes(other.times(kind), self.times(kind), QUANTILES)
        return self._known[key]

    def verdict(self, other: Arm, kind: str, most: float) -> str:
        """Whether the median and the 95th percentile are lower by so much, interval and all."""
        found = self.against(other, kind)
        if all(change.share[2] <= most for change in found):
            return "reached"
        sure = any(change.share[1] > most for change in found)
        return "missed" if sure else "not decided"


def table(arms: Sequence[Arm], most: float) -> list[list[str]]:
    """Rows of cells: the first is the head. `most` is the change that is the goal."""
    first, *others = arms
    rows = [["requests", "", first.name, *(arm.name for arm in others)]]
    for kind in GROUPS:
        told = [arm.against(first, kind) for arm in others]
        for i, q in enumerate(QUANTILES):
            own = (quantile(first.times(kind), q) or 0.0) * 1000
            rows.append([kind, f"p{q * 100:g}", f"{own:.0f} ms", *(c[i].told() for c in told)])
        goal = f"goal {most:.0%}"
        rows.append([kind, goal, "", *(arm.verdict(first, kind, most) for arm in others)])
    rows.append(["failed", "", *(f"{arm.failed:.3%}" for arm in arms)])
    rows.append(["CPU of a core", "", *(_share(arm, "cpu_share") for arm in arms)])
    rows.append(["memory at the end", "", *(_memory(arm) for arm in arms)])
    return rows


def tell(arms: Sequence[Arm], most: float) -> str:
    """The run as text."""
    first, *others = arms
    lines = [f"versus: {len(first.run.samples)} requests to each side"]
    rows = table(arms, most)[1:]
    for i, arm in enumerate(others, 3):
        lines.append(f" {arm.name}, against {first.name}")
        lines += [f"  {row[0]:15} {row[1]:4} {row[2]:>8}  {row[i]}" for row in rows]
        lines += [f"  {name} {value:.0f}" for name, value in arm.counted.items()]
    lines += [f"  INVALID: {arm.name}: {arm.run.invalid}" for arm in arms if arm.run.invalid]
    return "\n".join(lines)


def write(arms: Sequence[Arm], out: Path, most: float) -> None:
    """Write report.html, a report of each side, and one of each hamlet against hamlet1."""
    for arm in arms:
        write_report(arm.run, out / f"{arm.slug}.html")
    for arm in arms[1:]:
        compare.write(arms[0].run, arm.run, out / f"compare-{arm.slug}.html")
    (out / "report.html").write_text(page("hamlet1 against hamlet2", _body(arms, most)), "utf-8")


def _body(arms: Sequence[Arm], most: float) -> str:
    run = arms[0].run
    about = (
        f"<p>{len(run.samples)} requests to each side within {run.length_s:.0f} s, the same ones at the same moments (open loop, seed {run.seed}), "
        f"over the same simulated world. {escape(run.started_at)}; commit {escape(run.commit)}; {escape(run.machine)}. Everything shared this "
        "machine's cores. Changes are beside the first column, with 95 % intervals by bootstrap; a goal is reached where the whole interval is.</p>"
    )
    invalid = "".join(
        f'<p class="no">INVALID: {escape(arm.name)}: {escape(arm.run.invalid)}</p>'
        for arm in arms
        if arm.run.invalid
    )
    why = "".join(f"<p>{escape(text)}</p>" for text in WHY)
    return about + invalid + _html(table(arms, most)) + f'<div class="box">{why}</div>' + (
        _counters(arms) + f'<h2>Plots</h2><div class="plots">{_plots(arms)}</div>'
    )  # fmt: skip


def _html(rows: Sequence[Sequence[str]]) -> str:
    head, *body = rows
    cells = "".join(f"<th>{escape(cell)}</th>" for cell in head)
    lines = ("".join(f"<td>{escape(cell)}</td>" for cell in row) for row in body)
    return f"<table><tr>{cells}</tr>{''.join(f'<tr>{line}</tr>' for line in lines)}</table>"


def _counters(arms: Sequence[Arm]) -> str:
    names = sorted({name for arm in arms for name in arm.counted})
    rows = [["counter", *(arm.name for arm in arms[1:])]]
    rows += [[name, *(f"{arm.counted.get(name, 0):.0f}" for arm in arms[1:])] for name in names]
    return f"<h2>Where answers came from</h2>{_html(rows)}"


def _plots(arms: Sequence[Arm]) -> str:
    figures = [
        plot(
            f"{kind}: share of requests below",
            {arm.name: cdf(arm.times(kind)) for arm in arms},
            x="ms",
            log_x=True,
        )
        for kind in GROUPS
    ]
    ttft = {arm.name: cdf(arm.times("chat, streamed", "ttft")) for arm in arms}
    figures.append(plot("Time to first token, share below", ttft, x="ms", log_x=True))
    return "".join(figures)


def _share(arm: Arm, figure: str) -> str:
    value = arm.run.figures()[figure]
    return "not known" if value is None else f"{value:.1%}"


def _memory(arm: Arm) -> str:
    seen = [look.rss_mib for look in arm.run.looks if not math.isnan(look.rss_mib)]
    return f"{seen[-1]:.0f} MiB" if seen else "not known"
