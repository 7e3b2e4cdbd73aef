"""The dashboards of the main screen and of the migration from hamlet1."""

from __future__ import annotations

from hamlet.dashboards.model_calls import JOB, VARIABLES
from hamlet.dashboards.panels import (
    Dashboard,
    PanelRow,
    Query,
    Variable,
    bars,
    graph,
    stat,
    timeline,
)
from hamlet.dashboards.promql import metric_selector, quantile, rate, ratio
from hamlet.migration.rollout_document import STAGES

_ANSWERS, _TIME = "hamlet_suggest_answers_total", "hamlet_suggest_duration_seconds"
_EVENTS, _CACHE = "hamlet_suggest_events_total", "hamlet_suggest_cache_total"
_SEARCHES = "hamlet_web_searches_total"
_CLICKS, _IMPRESSIONS = 'type=~"click|submit"', 'type="impression"'
_suggestion_rate = rate(_TIME + "_count", JOB)


def _answers_by_tier(part: str) -> Query:
    return Query(rate(_ANSWERS, JOB, f'part="{part}"', by="tier") + " > 0", "{{tier}}")


def _ctr(by: str) -> str:
    return ratio(rate(_EVENTS, JOB, _CLICKS, by=by), rate(_EVENTS, JOB, _IMPRESSIONS, by=by))


SCREEN = Dashboard(
    "hamlet-screen",
    "hamlet / main screen",
    "Do users get suggestions in time, where do they come from, and are they used?",
    VARIABLES[:1],
    (
        PanelRow(
            "Now",
            (
                stat(
                    "Answers / min",
                    "Complete answers. " + _TIME,
                    "none",
                    f"60 * {_suggestion_rate}",
                    size=(4, 4),
                    decimals=0,
                ),
                stat(
                    "Time p95",
                    "Complete answers. " + _TIME,
                    "s",
                    quantile(0.95, _TIME, JOB),
                    warn=0.8,
                    bad=1.5,
                    size=(4, 4),
                ),
                stat(
                    "Late",
                    "Share over its time budget. hamlet_suggest_late_total",
                    "percentunit",
                    ratio(rate("hamlet_suggest_late_total", JOB), _suggestion_rate),
                    warn=0.01,
                    bad=0.05,
                    size=(4, 4),
                ),
                stat(
                    "From web or model",
                    "Share of sections. " + _ANSWERS,
                    "percentunit",
                    ratio(rate(_ANSWERS, JOB, 'tier=~"web|llm|cache"'), rate(_ANSWERS, JOB)),
                    size=(4, 4),
                ),
                stat(
                    "Cache hits",
                    "Share of lookups. " + _CACHE,
                    "percentunit",
                    ratio(rate(_CACHE, JOB, 'result="hit"'), rate(_CACHE, JOB, 'result!="none"')),
                    size=(4, 4),
                ),
                stat(
                    "Click-through",
                    "Clicks and submits per impression. " + _EVENTS,
                    "percentunit",
                    ratio(rate(_EVENTS, JOB, _CLICKS), rate(_EVENTS, JOB, _IMPRESSIONS)),
                    size=(4, 4),
                ),
            ),
        ),
        PanelRow(
            "Where answers come from",
            (
                graph(
                    "Links by tier",
                    "Sections per second. " + _ANSWERS,
                    "reqps",
                    _answers_by_tier("links"),
                    stack=True,
                ),
                graph(
                    "Chips by tier",
                    "Sections per second. " + _ANSWERS,
                    "reqps",
                    _answers_by_tier("chips"),
                    stack=True,
                ),
                graph(
                    "Degraded sections",
                    "Per second, by missing origin and reason. hamlet_suggest_degradations_total",
                    "reqps",
                    Query(
                        rate("hamlet_suggest_degradations_total", JOB, by="origin, reason"),
                        "{{origin}} {{reason}}",
                    ),
                ),
            ),
        ),
        PanelRow(
            "Budgets and caches",
            (
                graph(
                    "Time p95 by surface",
                    "Complete answers. " + _TIME,
                    "s",
                    Query(quantile(0.95, _TIME, JOB, by="surface"), "{{surface}}"),
                ),
                graph(
                    "Late by surface",
                    "Answers over their time budget, per second. hamlet_suggest_late_total",
                    "reqps",
                    Query(rate("hamlet_suggest_late_total", JOB, by="surface"), "{{surface}}"),
                ),
                graph(
                    "Cache lookups",
                    "Per second, by result. " + _CACHE,
                    "reqps",
                    Query(rate(_CACHE, JOB, by="result"), "{{result}}"),
                    stack=True,
                ),
            ),
        ),
        PanelRow(
            "What users do",
            (
                graph(
                    "Click-through by part",
                    "Clicks and submits per impression. " + _EVENTS,
                    "percentunit",
                    Query(_ctr("part"), "{{part}}"),
                ),
                bars(
                    "Click-through by tier",
                    "Clicks and submits per impression. " + _EVENTS,
                    "percentunit",
                    Query(f"sort_desc({_ctr('part, tier')})", "{{part}} {{tier}}"),
                ),
                graph(
                    "Events",
                    "New events per second. " + _EVENTS,
                    "reqps",
                    Query(rate(_EVENTS, JOB, by="type"), "{{type}}"),
                    stack=True,
                ),
            ),
        ),
        PanelRow(
            "Web sources",
            (
                timeline(
                    "Sources with an open circuit",
                    "Sources not called after failures or during Retry-After. "
                    "hamlet_web_source_open",
                    Query(
                        f"max by (source) ({metric_selector('hamlet_web_source_open', JOB)})",
                        "{{source}}",
                    ),
                    mappings=((0.0, "in use", "green"), (1.0, "open", "red")),
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
_FEATURE_SELECTORS = (JOB, _FEATURE)
_REQUESTS, _DURATION = "hamlet_cutover_requests_total", "hamlet_cutover_duration_seconds"
_COMPARISONS = "hamlet_cutover_comparisons_total"
_weight = metric_selector("hamlet_cutover_weight_ratio", *_FEATURE_SELECTORS)
_transitions = metric_selector("hamlet_cutover_transitions_total", *_FEATURE_SELECTORS)


def _stage_number(number: int, stage: str) -> str:
    state_selector = metric_selector(
        "hamlet_cutover_state", *_FEATURE_SELECTORS, f'state="{stage}"'
    )
    return f"{number} * (max by (feature) ({state_selector}) == 1)"


_stage = " or ".join(_stage_number(i, stage) for i, stage in enumerate(STAGES))
_STAGE_COLORS = ("gray", "purple", "blue", "yellow", "green", "green")

CUTOVER = Dashboard(
    "hamlet-cutover",
    "hamlet / cutover",
    "Which stage is each feature in, and may it be promoted?",
    (VARIABLES[0], Variable("feature", "hamlet_cutover_weight_ratio")),
    (
        PanelRow(
            "Stages",
            (
                timeline(
                    "Stage",
                    "Stage by feature. hamlet_cutover_state",
                    Query(_stage, "{{feature}}"),
                    mappings=tuple(
                        (float(i), stage, color)
                        for i, (stage, color) in enumerate(zip(STAGES, _STAGE_COLORS, strict=True))
                    ),
                ),
                graph(
                    "Share of the new arm",
                    "Share of users. hamlet_cutover_weight_ratio",
                    "percentunit",
                    Query(
                        f"max by (feature) ({_weight})",
                        "{{feature}}",
                    ),
                    maximum=1.0,
                    size=(12, 9),
                ),
            ),
        ),
        PanelRow(
            "Arms compared",
            (
                graph(
                    "Requests by arm",
                    "Per second. " + _REQUESTS,
                    "reqps",
                    Query(rate(_REQUESTS, *_FEATURE_SELECTORS, by="arm"), "{{arm}}"),
                ),
                graph(
                    "Failed by arm",
                    "Share of the arm's requests. " + _REQUESTS,
                    "percentunit",
                    Query(
                        ratio(
                            rate(
                                _REQUESTS,
                                *_FEATURE_SELECTORS,
                                'outcome=~"failed|rescued"',
                                by="arm",
                            ),
                            rate(_REQUESTS, *_FEATURE_SELECTORS, by="arm"),
                        ),
                        "{{arm}}",
                    ),
                ),
                graph(
                    "Time by arm p95",
                    "Until the last byte. " + _DURATION,
                    "s",
                    Query(quantile(0.95, _DURATION, *_FEATURE_SELECTORS, by="arm"), "{{arm}}"),
                ),
                graph(
                    "First byte by arm p95",
                    "hamlet_cutover_first_byte_seconds",
                    "s",
                    Query(
                        quantile(
                            0.95, "hamlet_cutover_first_byte_seconds", *_FEATURE_SELECTORS, by="arm"
                        ),
                        "{{arm}}",
                    ),
                    size=(12, 8),
                ),
                graph(
                    "Rescues",
                    "Per second, by reason. hamlet_cutover_rescues_total",
                    "reqps",
                    Query(
                        rate("hamlet_cutover_rescues_total", *_FEATURE_SELECTORS, by="reason"),
                        "{{reason}}",
                    ),
                    size=(12, 8),
                ),
            ),
        ),
        PanelRow(
            "Shadow comparisons",
            (
                graph(
                    "Verdicts on the new arm",
                    "Per second. " + _COMPARISONS,
                    "reqps",
                    Query(
                        rate(_COMPARISONS, *_FEATURE_SELECTORS, 'kind="candidate"', by="verdict"),
                        "{{verdict}}",
                    ),
                    stack=True,
                ),
                graph(
                    "Verdicts on hamlet1 against itself",
                    "The noise floor, per second. " + _COMPARISONS,
                    "reqps",
                    Query(
                        rate(_COMPARISONS, *_FEATURE_SELECTORS, 'kind="noise"', by="verdict"),
                        "{{verdict}}",
                    ),
                    stack=True,
                ),
                graph(
                    "Shadow requests dropped",
                    "Sampled requests that were not shadowed, per second, by reason. "
                    "hamlet_cutover_shadow_dropped_total",
                    "reqps",
                    Query(
                        rate(
                            "hamlet_cutover_shadow_dropped_total", *_FEATURE_SELECTORS, by="reason"
                        ),
                        "{{reason}}",
                    ),
                ),
            ),
        ),
        PanelRow(
            "Stage changes",
            (
                bars(
                    "Stage changes in the last day",
                    "By target and cause. hamlet_cutover_transitions_total",
                    "none",
                    Query(
                        f"sum by (feature, to, cause) (increase({_transitions}[1d])) > 0",
                        "{{feature}} to {{to}} ({{cause}})",
                    ),
                    size=(24, 7),
                    decimals=0,
                ),
            ),
        ),
    ),
)
