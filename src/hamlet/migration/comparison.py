"""Compares two responses to one request in three tiers: contract, token counts, content."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import date
from typing import Literal

from hamlet.config.cutover import IgnoreConfig
from hamlet.core.text import detect_language
from hamlet.migration.captured_response import CapturedResponse
from hamlet.migration.counters import Verdict

ContentMode = Literal["noise", "exact", "off"]

_CONTRACT_HEADERS = (
    "content-encoding",
    "location",
    "set-cookie",
    "www-authenticate",
    "retry-after",
)
_INPUT_TOKENS_TOLERANCE, _MAX_OUTPUT_TOKENS_RATIO, _MAX_LENGTH_RATIO = 0.02, 2.0, 3.0
# Unrelated texts score below this, two answers to the same question above.
_MIN_SIMILARITY = 0.15


@dataclass(frozen=True, slots=True)
class ComparisonResult:
    """The verdict; `paths` name where the two differ and never quote a value."""

    verdict: Verdict
    paths: tuple[str, ...] = ()
    length_ratio: float | None = None
    similarity: float | None = None  # 0 to 1


def compare(
    control: CapturedResponse,
    candidate: CapturedResponse,
    *,
    content: ContentMode = "noise",
    ignore: Iterable[IgnoreConfig] = (),
    noisy_paths: frozenset[str] = frozenset(),
    today: date | None = None,
) -> ComparisonResult:
    """Compare the candidate with the control.

    `noisy_paths` are paths of the contract in which hamlet1 differs from itself, which clients
    therefore cannot rely on. Expired `ignore` rules have no effect.
    """
    if control.is_server_failure:
        return ComparisonResult("control_failed")
    if candidate.is_server_failure:
        return ComparisonResult("candidate_failed", (f"status {candidate.status}",))
    day = today or date.today()
    waived = {rule.path for rule in ignore if rule.expires >= day}
    broken = sorted(set(contract_differences(control, candidate)) - waived)
    unexplained = [path for path in broken if path not in noisy_paths]
    if unexplained:
        return ComparisonResult("contract_mismatch", tuple(unexplained))
    if content == "off":
        return ComparisonResult("tolerated" if broken else "equal", tuple(broken))
    return _compare_content(
        control, candidate, content, (*broken, *_token_count_differences(control, candidate))
    )


def contract_differences(control: CapturedResponse, candidate: CapturedResponse) -> Iterator[str]:
    """The first tier: where the candidate breaks the contract that clients rely on."""
    if control.status != candidate.status:
        yield "status"
    if control.media_type != candidate.media_type:
        yield "header content-type"
        return
    for name in _CONTRACT_HEADERS:
        if (control.header(name) is None) != (candidate.header(name) is None):
            yield f"header {name}"
    if control.event_sequence != candidate.event_sequence:
        yield "events"
    yield from _type_differences(control.types_by_path, candidate.types_by_path)
    if control.finish_reason != candidate.finish_reason:
        yield "finish"
    if _tool_names(control) != _tool_names(candidate):
        yield "tools"


def _type_differences(
    control: dict[str, set[str]], candidate: dict[str, set[str]]
) -> Iterator[str]:
    for path in control.keys() | candidate.keys():
        if control.get(path) == candidate.get(path):
            continue
        # Nothing is known of the elements of a list that is empty on one side.
        parents = [path[: i + 2] for i in range(len(path)) if path.startswith("[]", i)]
        if any(parent not in control or parent not in candidate for parent in parents):
            continue
        yield path


def _tool_names(response: CapturedResponse) -> list[object]:
    return [
        value for path, value in response.leaf_values if path.endswith("tool_calls[].function.name")
    ]


def _token_count_differences(
    control: CapturedResponse, candidate: CapturedResponse
) -> Iterator[str]:
    """The second tier: token counts outside their tolerance."""
    ours, theirs = candidate.input_tokens, control.input_tokens
    if ours and theirs and abs(ours / theirs - 1) > _INPUT_TOKENS_TOLERANCE:
        yield "prompt tokens"
    ours, theirs = candidate.output_tokens, control.output_tokens
    if (
        ours
        and theirs
        and not 1 / _MAX_OUTPUT_TOKENS_RATIO <= ours / theirs <= _MAX_OUTPUT_TOKENS_RATIO
    ):
        yield "answer tokens"


def _compare_content(
    control: CapturedResponse,
    candidate: CapturedResponse,
    content: ContentMode,
    earlier_differences: tuple[str, ...],
) -> ComparisonResult:
    """The third tier: the text."""
    if control.leaf_values == candidate.leaf_values:
        return ComparisonResult(
            "tolerated" if earlier_differences else "equal", earlier_differences, 1.0, 1.0
        )
    if content == "exact":
        differing = dict(control.leaf_values).items() ^ dict(candidate.leaf_values).items()
        return ComparisonResult("contract_mismatch", tuple(sorted({path for path, _ in differing})))
    ours, theirs = candidate.text, control.text
    ratio = (len(ours) + 1) / (len(theirs) + 1)
    score = similarity(ours, theirs)
    drifts = [
        name
        for name, drifted in (
            ("empty", bool(ours.strip()) != bool(theirs.strip())),
            ("refusal", candidate.is_refusal != control.is_refusal),
            ("language", detect_language(ours) != detect_language(theirs)),
            ("length", abs(math.log(ratio)) > math.log(_MAX_LENGTH_RATIO)),
            ("similarity", score < _MIN_SIMILARITY),
        )
        if drifted
    ]
    verdict: Verdict = "content_drift" if drifts else "tolerated"
    return ComparisonResult(
        verdict, (*earlier_differences, *drifts), round(ratio, 3), round(score, 3)
    )


def similarity(a: str, b: str) -> float:
    """From 0 to 1: the larger Sørensen-Dice coefficient of words and of character trigrams.

    https://en.wikipedia.org/wiki/Dice-S%C3%B8rensen_coefficient
    """
    words = _dice(set(a.lower().split()), set(b.lower().split()))
    return max(words, _dice(_trigrams(a.lower()), _trigrams(b.lower())))


def _trigrams(text: str) -> set[str]:
    return {text[i : i + 3] for i in range(len(text) - 2)}


def _dice(a: set[str], b: set[str]) -> float:
    if not a and not b:
        return 1.0
    return 2 * len(a & b) / (len(a) + len(b))
