"""The report of a run: a table, an HTML page, and an explanation."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from hamlet.reporting.html import escape, table
from loadtest.bench.versus.requests import KINDS
from loadtest.engine import comparison as compare
from loadtest.engine.charts import plot
from loadtest.engine.comparison import QuantileChange, quantile_changes
from loadtest.engine.quantiles import quantile
from loadtest.engine.report import cdf, html_page, write_report
from loadtest.engine.results import RunResult

QUANTILES = (0.5, 0.95)
ALL, MAIN_SCREEN = "all", "main screen"
# Groups of the report: all requests, the two endpoints of the main screen, and each kind alone.
GROUPS = {
    ALL: frozenset(KINDS),
    MAIN_SCREEN: frozenset(("related", "chips")),
    **{kind: frozenset((kind,)) for kind in KINDS},
}
EXPLANATION = (
    "hamlet1 is a stand-in: a Node server written for these tests that speaks the old API. The real one was not measured. It does what a "
    "plain monolith does: it has one account of one model, waits until a model has written its chips and a search has ended, and caches nothing.",
    "The difference comes from the design, not from a faster program: the main screen responds within a budget (800 ms), from the embedded tier "
    "if the model is late; chat goes to the better of several accounts; links run two searches at once and take the first that finds "
    "something, at the price of twice the searches; repeated queries come from the cache. With one account, one search and no cache only "
    "the budget is left, so that column's chat and links compare the two programs alone.",
    "Early chips are therefore from the embedded tier, not from the model; the counters below say how many. The accounts are simulated, one "
    "a quarter faster and one a third slower than hamlet1's; with others the result for chat differs. The length of a response and the time "
    "of a search are the same on every side, the speed of a response is drawn for each request.",
)


@dataclass
class ArmResult:
    """One side of the run. `counters` are those of hamlet's /metrics."""

    name: str
    run: RunResult
    counters: Mapping[str, float]
    # Bootstrapping takes seconds, and every change is needed more than once.
    _changes_cache: dict[tuple[str, str], list[QuantileChange]] = field(
        default_factory=dict, repr=False
    )

    @property
    def slug(self) -> str:
        """A name for files."""
        return "-".join(re.findall(r"\w+", self.name))

    def times(self, kind: str, attribute: str = "latency") -> list[float]:
        """The times of a group's successful requests, in seconds."""
        return [
            getattr(s, attribute)
            for s in self.run.samples_of()
            if s.outcome == "ok"
            and s.kind in GROUPS[kind]
            and not math.isnan(getattr(s, attribute))
        ]

    @cached_property
    def failed_share(self) -> float:
        """The share of requests that failed."""
        return self.run.figures()["failed_share"] or 0.0

    def changes_against(self, other: ArmResult, kind: str) -> list[QuantileChange]:
        """The change of the median and the 95th percentile against another side."""
        key = (other.name, kind)
        if key not in self._changes_cache:
            self._changes_cache[key] = quantile_changes(
                other.times(kind), self.times(kind), QUANTILES
            )
        return self._changes_cache[key]

    def goal_result(self, other: ArmResult, kind: str, max_change: float) -> str:
        """Whether both quantiles changed by `max_change` or less, with their whole intervals."""
        found = self.changes_against(other, kind)
        if all(change.relative[2] <= max_change for change in found):
            return "reached"
        sure = any(change.relative[1] > max_change for change in found)
        return "missed" if sure else "not decided"


def table_rows(arms: Sequence[ArmResult], max_change: float) -> list[list[str]]:
    """Rows of cells, the first one the head. `max_change` is the goal."""
    first, *others = arms
    rows = [["requests", "", first.name, *(arm.name for arm in others)]]
    for kind in GROUPS:
        changes_by_arm = [arm.changes_against(first, kind) for arm in others]
        for i, q in enumerate(QUANTILES):
            own = (quantile(first.times(kind), q) or 0.0) * 1000
            rows.append(
                [kind, f"p{q * 100:g}", f"{own:.0f} ms", *(c[i].summary() for c in changes_by_arm)]
            )
        goal = f"goal {max_change:.0%}"
        rows.append([kind, goal, "", *(arm.goal_result(first, kind, max_change) for arm in others)])
    rows.append(["failed", "", *(f"{arm.failed_share:.3%}" for arm in arms)])
    rows.append(["CPU of a core", "", *(_share_cell(arm, "cpu_share") for arm in arms)])
    rows.append(["memory at the end", "", *(_memory_cell(arm) for arm in arms)])
    return rows


def render_text(arms: Sequence[ArmResult], max_change: float) -> str:
    """The run as text."""
    first, *others = arms
    lines = [f"versus: {len(first.run.samples)} requests to each side"]
    rows = table_rows(arms, max_change)[1:]
    for i, arm in enumerate(others, 3):
        lines.append(f" {arm.name}, against {first.name}")
        lines += [f"  {row[0]:15} {row[1]:4} {row[2]:>8}  {row[i]}" for row in rows]
        lines += [f"  {name} {value:.0f}" for name, value in arm.counters.items()]
    lines += [f"  INVALID: {arm.name}: {arm.run.invalid}" for arm in arms if arm.run.invalid]
    return "\n".join(lines)


def write_reports(arms: Sequence[ArmResult], out: Path, max_change: float) -> None:
    """Write report.html, a report of each side, and one of each hamlet against hamlet1."""
    for arm in arms:
        write_report(arm.run, out / f"{arm.slug}.html")
    for arm in arms[1:]:
        compare.write_comparison(arms[0].run, arm.run, out / f"compare-{arm.slug}.html")
    (out / "report.html").write_text(
        html_page("hamlet1 against hamlet2", _body(arms, max_change)), "utf-8"
    )


def _body(arms: Sequence[ArmResult], max_change: float) -> str:
    run = arms[0].run
    about = (
        f"<p>{len(run.samples)} requests to each side within {run.length_s:.0f} s, the same ones at the same moments (open loop, seed {run.seed}), "
        f"over the same simulated world. {escape(run.started_at)}; commit {escape(run.commit)}; {escape(run.machine)}. Everything shared this "
        "machine's cores. Changes are against the first column, with 95 % intervals by bootstrap; a goal is reached if the whole interval is within it.</p>"
    )
    invalid = "".join(
        f'<p class="no">INVALID: {escape(arm.name)}: {escape(arm.run.invalid)}</p>'
        for arm in arms
        if arm.run.invalid
    )
    head, *rows = table_rows(arms, max_change)
    why = "".join(f"<p>{escape(text)}</p>" for text in EXPLANATION)
    return about + invalid + table(head, rows) + f'<div class="box">{why}</div>' + (
        _counters_table(arms) + f'<h2>Plots</h2><div class="charts">{_plots(arms)}</div>'
    )  # fmt: skip


def _counters_table(arms: Sequence[ArmResult]) -> str:
    names = sorted({name for arm in arms for name in arm.counters})
    head = ["counter", *(arm.name for arm in arms[1:])]
    rows = [[name, *(f"{arm.counters.get(name, 0):.0f}" for arm in arms[1:])] for name in names]
    return f"<h2>hamlet's counters</h2>{table(head, rows)}"


def _plots(arms: Sequence[ArmResult]) -> str:
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


def _share_cell(arm: ArmResult, figure: str) -> str:
    value = arm.run.figures()[figure]
    return "unknown" if value is None else f"{value:.1%}"


def _memory_cell(arm: ArmResult) -> str:
    known = [look.rss_mib for look in arm.run.looks if not math.isnan(look.rss_mib)]
    return f"{known[-1]:.0f} MiB" if known else "unknown"
