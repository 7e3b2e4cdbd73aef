"""One run as one HTML file that needs nothing else."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Sequence
from itertools import pairwise
from pathlib import Path

from hamlet.reporting import html
from hamlet.reporting.chart import Points
from hamlet.reporting.html import escape
from loadtest.engine.charts import plot
from loadtest.engine.quantiles import quantile
from loadtest.engine.results import RunResult, Sample

_STYLE = (
    ".no{color:#b91c1c;font-weight:600}.yes{color:#15803d}"
    ".box{background:#f8fafc;padding:10px;border-left:4px solid #c2410c}"
)


def write_report(run: RunResult, file: Path) -> None:
    """Write the report of a run."""
    file.write_text(html_page(f"{run.scenario} ({run.size})", _body(run)), "utf-8")


def html_page(title: str, body: str) -> str:
    """A whole HTML document with `title` as its heading. `body` is HTML."""
    return html.page(title, f"<h1>{escape(title)}</h1>{body}", style=_STYLE)


def _body(run: RunResult) -> str:
    about = (
        f"<p>{escape(run.target)}; seed {run.seed}; commit {escape(run.commit)}; {escape(run.started_at)}; "
        f"{escape(run.machine)}. Latency counts from the intended start. Generator, vendors and target "
        "shared this machine's cores unless the target was elsewhere.</p>"
    )
    invalid = f'<p class="no">INVALID: {escape(run.invalid)}</p>' if run.invalid else ""
    return (
        about
        + invalid
        + _checks_table(run)
        + infra_spec_box(run)
        + _figures_table(run)
        + _plots(run)
    )


def _checks_table(run: RunResult) -> str:
    rows = []
    for v in run.verdicts:
        bound = f"\u2264 {v['at_most']}" if "at_most" in v else f"\u2265 {v['at_least']}"
        value = "not known" if v["value"] is None else f"{v['value']:.4g}"
        mark = '<span class="yes">holds</span>' if v["passed"] else '<span class="no">fails</span>'
        rows.append((v["figure"], bound, value, html.Markup(mark)))
    return f"<h2>Assertions</h2>{html.table(('assertion', 'bound', 'value', ''), rows)}"


def _figures_table(run: RunResult) -> str:
    known = [(name, value) for name, value in run.figures().items() if value is not None]
    rows = [(name, f"{value:.5g}") for name, value in known]
    return f"<h2>Figures</h2>{html.table((), rows)}"


def infra_spec_box(run: RunResult) -> str:
    """The infra-spec box: what one process sustained, and how many the peak needs at 60 % load."""
    figures, length = run.figures(), max(run.length_s, 1e-9)
    rate = (figures["requests"] or 0) / length
    share = figures["cpu_share"]
    if share is None or not rate:
        return ""
    capacity = rate / max(share, 1e-6) * 0.6
    knee = figures["knee_rpm"] if run.until_broken else None
    broke = (
        f" It kept up with {knee:.0f} a minute, {knee / 750:.0f} times the peak." if knee else ""
    )
    pods = max(2, math.ceil(12.5 / capacity) + 1)
    return (
        f'<p class="box"><b>Infra spec.</b> One process took {rate:.1f} requests/s ({rate * 60:.0f} a minute) with '
        f"{share:.1%} of a core, so about {capacity * 60:.0f} a minute at 60 % of one. The peak of 750 a "
        f"minute needs {max(1, math.ceil(12.5 / capacity))} by load, {pods} with one to lose.{broke}</p>"
    )


def _plots(run: RunResult) -> str:
    samples = run.samples_of()
    resource_samples = run.looks
    cpu = [
        (b.at, (b.cpu_s - a.cpu_s) / max(b.at - a.at, 1e-9) * 100)
        for a, b in pairwise(resource_samples)
    ]
    sides = {"through": samples} | (
        {"direct": run.samples_of("direct")} if run.samples_of("direct") else {}
    )
    figures = [
        plot(
            "Arrivals and completions",
            {
                "arrivals": per_second(samples, "intended"),
                "completions": per_second(samples, "last"),
            },
            y="1/s",
        ),
        plot("Latency over time", _percentiles_over_time(samples, lambda s: s.latency), y="ms"),
        plot(
            "Time to first content over time",
            _percentiles_over_time(samples, lambda s: s.ttft),
            y="ms",
        ),
        plot(
            "Latency, share of requests below",
            {name: cdf([s.latency for s in part]) for name, part in sides.items()},
            x="ms",
            log_x=True,
        ),
        plot(
            "Time to first content, share below",
            {name: cdf([s.ttft for s in part]) for name, part in sides.items()},
            x="ms",
            log_x=True,
        ),
        plot("In flight", {"requests": in_flight(samples)}),
        plot("Not ok, by class", _errors_per_second(samples), y="1/s"),
        plot("CPU of the target", {"CPU": cpu}, y="% core"),
        plot(
            "Memory of the target", {"RSS": [(x.at, x.rss_mib) for x in resource_samples]}, y="MiB"
        ),
        plot(
            "What the target holds",
            {
                "descriptors": [(x.at, float(x.descriptors)) for x in resource_samples],
                "tasks": [(x.at, x.tasks) for x in resource_samples],
            },
        ),
        plot(
            "How late the loop answers /livez",
            {"worst of the second": [(x.at, x.lag_ms) for x in resource_samples]},
            y="ms",
        ),
    ]
    return f'<h2>Plots</h2><div class="charts">{"".join(figures)}</div>'


def per_second(samples: Sequence[Sample], time_attribute: str) -> Points:
    """How many of a time fall in each second."""
    times = [getattr(s, time_attribute) for s in samples]
    counts = Counter(int(t) for t in times if t == t)
    return [(second, counts[second]) for second in range(max(counts, default=0) + 1)]


def _percentiles_over_time(
    samples: Sequence[Sample], value: Callable[[Sample], float]
) -> dict[str, Points]:
    span = max((s.intended for s in samples), default=0.0)
    width = max(1.0, span / 60)
    bins: dict[int, list[float]] = {}
    for sample in samples:
        if sample.outcome == "ok":
            bins.setdefault(int(sample.intended / width), []).append(value(sample) * 1000)
    return {
        f"p{round(q * 100)}": [(i * width, quantile(bins[i], q) or 0.0) for i in sorted(bins)]
        for q in (0.99, 0.95, 0.5)
    }


def cdf(seconds: Sequence[float]) -> Points:
    """Points (ms, share below), at most some 300 of them."""
    known = sorted(v * 1000 for v in seconds if v == v)
    step = max(1, len(known) // 300)
    return [
        (v, (i + 1) / len(known))
        for i, v in enumerate(known)
        if i % step == 0 or i > len(known) - 20
    ]


def in_flight(samples: Sequence[Sample]) -> Points:
    """How many requests were under way, at each change."""
    changes = sorted(
        change for s in samples if s.sent == s.sent for change in ((s.sent, 1), (s.last, -1))
    )
    level, points = 0, []
    for at, change in changes:
        level += change
        points.append((at, float(level)))
    return points[:: max(1, len(points) // 1500)]


def _errors_per_second(samples: Sequence[Sample]) -> dict[str, Points]:
    kinds = Counter(s.outcome for s in samples if s.outcome != "ok")
    return {
        kind: per_second([s for s in samples if s.outcome == kind], "intended")
        for kind, _ in kinds.most_common(5)
    }
