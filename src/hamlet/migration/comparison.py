"""Two answers to one question, compared in three tiers: contract, numbers, content."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import date
from typing import Literal

from hamlet.config.cutover import IgnoreConfig
from hamlet.core.text import language
from hamlet.migration.response import Answer
from hamlet.migration.tally import Verdict

Content = Literal["noise", "exact", "off"]

_HEADERS = ("content-encoding", "location", "set-cookie", "www-authenticate", "retry-after")
_PROMPT_BAND, _ANSWER_RATIO, _LENGTH_RATIO = 0.02, 2.0, 3.0
# Below this, two texts have nothing to do with each other; answers to one question lie above.
_ALIKE = 0.15


@dataclass(frozen=True, slots=True)
class Compared:
    """What came of it; `paths` say where the two differ, never what stands there."""

    verdict: Verdict
    paths: tuple[str, ...] = ()
    length_ratio: float | None = None
    similarity: float | None = None


def compare(
    control: Answer,
    candidate: Answer,
    *,
    content: Content = "noise",
    ignore: Iterable[IgnoreConfig] = (),
    noisy: frozenset[str] = frozenset(),
    today: date | None = None,
) -> Compared:
    """Judge the candidate by the control.

    `noisy` are paths of the contract in which hamlet1 differs from itself: nobody relies on those.
    A rule to ignore that has expired counts no more.
    """
    if control.failed:
        return Compared("control_failed")
    if candidate.failed:
        return Compared("candidate_failed", (f"status {candidate.status}",))
    day = today or date.today()
    waived = {rule.path for rule in ignore if rule.expires >= day}
    broken = sorted(set(contract(control, candidate)) - waived)
    unexplained = [path for path in broken if path not in noisy]
    if unexplained:
        return Compared("contract_mismatch", tuple(unexplained))
    if content == "off":
        return Compared("tolerated" if broken else "equal", tuple(broken))
    return _content(control, candidate, content, (*broken, *_numbers(control, candidate)))


def contract(control: Answer, candidate: Answer) -> Iterator[str]:
    """The first tier: where the candidate breaks what clients rely on."""
    if control.status != candidate.status:
        yield "status"
    if control.media_type != candidate.media_type:
        yield "header content-type"
        return
    for name in _HEADERS:
        if (control.header(name) is None) != (candidate.header(name) is None):
            yield f"header {name}"
    if control.grammar != candidate.grammar:
        yield "events"
    yield from _shapes(control.shape, candidate.shape)
    if control.finish != candidate.finish:
        yield "finish"
    if _tools(control) != _tools(candidate):
        yield "tools"


def _shapes(control: dict[str, set[str]], candidate: dict[str, set[str]]) -> Iterator[str]:
    for path in control.keys() | candidate.keys():
        if control.get(path) == candidate.get(path):
            continue
        # What is below a list that is empty on one side cannot be known.
        parents = [path[: i + 2] for i in range(len(path)) if path.startswith("[]", i)]
        if any(parent not in control or parent not in candidate for parent in parents):
            continue
        yield path


def _tools(answer: Answer) -> list[object]:
    return [value for path, value in answer.values if path.endswith("tool_calls[].function.name")]


def _numbers(control: Answer, candidate: Answer) -> Iterator[str]:
    """The second tier: token counts out of their bands."""
    ours, theirs = candidate.prompt_tokens, control.prompt_tokens
    if ours and theirs and abs(ours / theirs - 1) > _PROMPT_BAND:
        yield "prompt tokens"
    ours, theirs = candidate.answer_tokens, control.answer_tokens
    if ours and theirs and not 1 / _ANSWER_RATIO <= ours / theirs <= _ANSWER_RATIO:
        yield "answer tokens"


def _content(
    control: Answer, candidate: Answer, content: Content, notes: tuple[str, ...]
) -> Compared:
    """The third tier: what is said."""
    if control.values == candidate.values:
        return Compared("tolerated" if notes else "equal", notes, 1.0, 1.0)
    if content == "exact":
        differing = dict(control.values).items() ^ dict(candidate.values).items()
        return Compared("contract_mismatch", tuple(sorted({path for path, _ in differing})))
    ours, theirs = candidate.text, control.text
    ratio = (len(ours) + 1) / (len(theirs) + 1)
    alike = similarity(ours, theirs)
    drifts = [
        name
        for name, drifted in (
            ("empty", bool(ours.strip()) != bool(theirs.strip())),
            ("refusal", candidate.refuses != control.refuses),
            ("language", language(ours) != language(theirs)),
            ("length", abs(math.log(ratio)) > math.log(_LENGTH_RATIO)),
            ("similarity", alike < _ALIKE),
        )
        if drifted
    ]
    verdict: Verdict = "content_drift" if drifts else "tolerated"
    return Compared(verdict, (*notes, *drifts), round(ratio, 3), round(alike, 3))


def similarity(a: str, b: str) -> float:
    """From 0 to 1: the better of the overlap of words and that of character trigrams (Dice)."""
    words = _dice(set(a.lower().split()), set(b.lower().split()))
    return max(words, _dice(_trigrams(a.lower()), _trigrams(b.lower())))


def _trigrams(text: str) -> set[str]:
    return {text[i : i + 3] for i in range(len(text) - 2)}


def _dice(a: set[str], b: set[str]) -> float:
    if not a and not b:
        return 1.0
    return 2 * len(a & b) / (len(a) + len(b))
