"""The dashboards of what users see: the main screen, and the move from hamlet1."""

from __future__ import annotations

from hamlet.dashboards.model_calls import JOB, VARIABLES
from hamlet.dashboards.panels import Dashboard, Query, Row, Variable, bars, graph, stat, timeline
from hamlet.dashboards.promql import metric, quantile, rate, ratio
from hamlet.migration.model import STAGES

_ANSWERS, _TIME = "hamlet_suggest_answers_total", "hamlet_suggest_duration_seconds"
_EVENTS, _CACHE = "hamlet_suggest_events_total", "hamlet_suggest_cache_total"
_SEARCHES = "hamlet_web_searches_total"
_TAKEN, _SEEN = 'type=~"click|submit"', 'type="impression"'
_count = rate(_TIME + "_count", JOB)


def _tiers(part: str) -> Query:
    return Query(rate(_ANSWERS, JOB, f'part="{part}"', by="tier") + " > 0", "{{tier}}")


def _ctr(by: str) -> str:
    return ratio(rate(_EVENTS, JOB, _TAKEN, by=by), rate(_EVENTS, JOB, _SEEN, by=by))


SCREEN = Dashboard(
    "hamlet-screen",
    "hamlet / main screen",
    "Do users get suggestions in time, from where, and do they take them?",
    VARIABLES[:1],
    (
        Row(
            "Now",
            (
                stat(
                    "Answers a minute",
                    "Whole answers. " + _TIME,
                    "none",
                    f"60 * {_count}",
                    size=(4, 4),
                    decimals=0,
                ),
                stat(
                    "Time p95",
                    "Of whole answers. " + _TIME,
                    "s",
                    quantile(0.95, _TIME, JOB),
                    warn=0.8,
                    bad=1.5,
                    size=(4, 4),
                ),
                stat(
                    "Late",
                    "Part over its budget. hamlet_suggest_late_total",
                    "percentunit",
                    ratio(rate("hamlet_suggest_late_total", JOB), _count),
                    warn=0.01,
                    bad=0.05,
                    size=(4, 4),
                ),
                stat(
                    "By web or model",
                    "Part of the halves. " + _ANSWERS,
                    "percentunit",
                    ratio(rate(_ANSWERS, JOB, 'tier=~"web|llm|cache"'), rate(_ANSWERS, JOB)),
                    size=(4, 4),
                ),
                stat(
                    "Cache hits",
                    "Part of the looks. " + _CACHE,
                    "percentunit",
                    ratio(rate(_CACHE, JOB, 'result="hit"'), rate(_CACHE, JOB, 'result!="none"')),
                    size=(4, 4),
                ),
                stat(
                    "Click-through",
                    "Taken of seen. " + _EVENTS,
                    "percentunit",
                    ratio(rate(_EVENTS, JOB, _TAKEN), rate(_EVENTS, JOB, _SEEN)),
                    size=(4, 4),
                ),
            ),
        ),
        Row(
            "Where answers come from",
            (
                graph(
                    "Links by tier",
                    "Halves a second. " + _ANSWERS,
                    "reqps",
                    _tiers("links"),
                    stack=True,
                ),
                graph(
                    "Chips by tier",
                    "Halves a second. " + _ANSWERS,
                    "reqps",
                    _tiers("chips"),
                    stack=True,
                ),
                graph(
                    "Degraded halves",
                    "A second, by what was missed and why. hamlet_suggest_degradations_total",
                    "reqps",
                    Query(
                        rate("hamlet_suggest_degradations_total", JOB, by="origin, reason"),
                        "{{origin}} {{reason}}",
                    ),
                ),
            ),
        ),
        Row(
            "Budgets and caches",
            (
                graph(
                    "Time p95 by surface",
                    "Of whole answers. " + _TIME,
                    "s",
                    Query(quantile(0.95, _TIME, JOB, by="surface"), "{{surface}}"),
                ),
                graph(
                    "Late by surface",
                    "Answers a second over their budget. hamlet_suggest_late_total",
                    "reqps",
                    Query(rate("hamlet_suggest_late_total", JOB, by="surface"), "{{surface}}"),
                ),
                graph(
                    "Looks into the cache",
                    "A second, by result. " + _CACHE,
                    "reqps",
                    Query(rate(_CACHE, JOB, by="result"), "{{result}}"),
                    stack=True,
                ),
            ),
        ),
        Row(
            "What users do",
            (
                graph(
                    "Click-through by part",
                    "Taken of seen. " + _EVENTS,
                    "percentunit",
                    Query(_ctr("part"), "{{part}}"),
                ),
                bars(
                    "Click-through by tier",
                    "Taken of seen. " + _EVENTS,
                    "percentunit",
                    Query(f"sort_desc({_ctr('part, tier')})", "{{part}} {{tier}}"),
                ),
                graph(
                    "Events",
                    "New ones a second. " + _EVENTS,
                    "reqps",
                    Query(rate(_EVENTS, JOB, by="type"), "{{type}}"),
                    stack=True,
                ),
            ),
        ),
        Row(
            "Web sources",
            (
                timeline(
                    "Sources left alone",
                    "After failures, or as they asked. hamlet_web_source_open",
                    Query(
                        f"max by (source) ({metric('hamlet_web_source_open', JOB)})", "{{source}}"
                    ),
                    mappings=((0.0, "in use", "green"), (1.0, "left alone", "red")),
                    size=(12, 8),
                ),
                graph(
                    "Searches",
                    f"That ended, a second, by source; with a hedge, late ones too. {_SEARCHES}",
                    "reqps",
                    Query(rate(_SEARCHES, JOB, by="source, outcome"), "{{source}} {{outcome}}"),
                    stack=True,
                    size=(12, 8),
                ),
            ),
        ),
    ),
)

_FEATURE = 'feature=~"$feature"'
_OF = (JOB, _FEATURE)
_REQUESTS, _DURATION = "hamlet_cutover_requests_total", "hamlet_cutover_duration_seconds"
_VERDICTS = "hamlet_cutover_comparisons_total"


def _at_stage(number: int, stage: str) -> str:
    stands = metric("hamlet_cutover_state", *_OF, f'state="{stage}"')
    return f"{number} * (max by (feature) ({stands}) == 1)"


_stage = " or ".join(_at_stage(i, stage) for i, stage in enumerate(STAGES))
_COLORS = ("gray", "purple", "blue", "yellow", "green", "green")

CUTOVER = Dashboard(
    "hamlet-cutover",
    "hamlet / cutover",
    "Where does each feature stand, and may it go on?",
    (VARIABLES[0], Variable("feature", "hamlet_cutover_weight_ratio")),
    (
        Row(
            "Where features stand",
            (
                timeline(
                    "Stage",
                    "Of each feature. hamlet_cutover_state",
                    Query(_stage, "{{feature}}"),
                    mappings=tuple(
                        (float(i), stage, color)
                        for i, (stage, color) in enumerate(zip(STAGES, _COLORS, strict=True))
                    ),
                ),
                graph(
                    "The new arm's share",
                    "Of users. hamlet_cutover_weight_ratio",
                    "percentunit",
                    Query(
                        f"max by (feature) ({metric('hamlet_cutover_weight_ratio', *_OF)})",
                        "{{feature}}",
                    ),
                    maximum=1.0,
                    size=(12, 9),
                ),
            ),
        ),
        Row(
            "Both arms side by side",
            (
                graph(
                    "Requests by arm",
                    "A second. " + _REQUESTS,
                    "reqps",
                    Query(rate(_REQUESTS, *_OF, by="arm"), "{{arm}}"),
                ),
                graph(
                    "Failed by arm",
                    "Part of its requests. " + _REQUESTS,
                    "percentunit",
                    Query(
                        ratio(
                            rate(_REQUESTS, *_OF, 'outcome=~"failed|rescued"', by="arm"),
                            rate(_REQUESTS, *_OF, by="arm"),
                        ),
                        "{{arm}}",
                    ),
                ),
                graph(
                    "Time by arm p95",
                    "To the last byte. " + _DURATION,
                    "s",
                    Query(quantile(0.95, _DURATION, *_OF, by="arm"), "{{arm}}"),
                ),
                graph(
                    "First byte by arm p95",
                    "hamlet_cutover_first_byte_seconds",
                    "s",
                    Query(
                        quantile(0.95, "hamlet_cutover_first_byte_seconds", *_OF, by="arm"),
                        "{{arm}}",
                    ),
                    size=(12, 8),
                ),
                graph(
                    "Rescues",
                    "A second, by reason. hamlet_cutover_rescues_total",
                    "reqps",
                    Query(rate("hamlet_cutover_rescues_total", *_OF, by="reason"), "{{reason}}"),
                    size=(12, 8),
                ),
            ),
        ),
        Row(
            "Comparisons in the dark",
            (
                graph(
                    "Verdicts on the new arm",
                    "A second. " + _VERDICTS,
                    "reqps",
                    Query(rate(_VERDICTS, *_OF, 'kind="candidate"', by="verdict"), "{{verdict}}"),
                    stack=True,
                ),
                graph(
                    "Verdicts of hamlet1 on itself",
                    "The noise, a second. " + _VERDICTS,
                    "reqps",
                    Query(rate(_VERDICTS, *_OF, 'kind="noise"', by="verdict"), "{{verdict}}"),
                    stack=True,
                ),
                graph(
                    "Not tried",
                    "Sampled requests a second, by reason. hamlet_cutover_shadow_dropped_total",
                    "reqps",
                    Query(
                        rate("hamlet_cutover_shadow_dropped_total", *_OF, by="reason"), "{{reason}}"
                    ),
                ),
            ),
        ),
        Row(
            "Moves",
            (
                bars(
                    "Moves of the last day",
                    "By target and cause. hamlet_cutover_transitions_total",
                    "none",
                    Query(
                        "sum by (feature, to, cause) (increase("
                        f"{metric('hamlet_cutover_transitions_total', *_OF)}[1d])) > 0",
                        "{{feature}} to {{to}} ({{cause}})",
                    ),
                    size=(24, 7),
                    decimals=0,
                ),
            ),
        ),
    ),
)
