"""From drafts to the chips that are shown: valid, no echoes, no near duplicates, mixed kinds."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property

from hamlet.core.text import Language
from hamlet.suggest.chips.validation import (
    label_rejection_reason,
    length_if_valid,
    prompt_rejection_reason,
)
from hamlet.suggest.ids import chip_id
from hamlet.suggest.model import Chip, Draft, SuggestRequest
from hamlet.suggest.safety import mentions_crisis, repeats_injection
from hamlet.suggest.similarity import are_similar, bigrams, is_echo

_MAX_PER_KIND = 2


class DraftFeatures:
    """What does not depend on the request. Each feature is computed when it is first needed."""

    def __init__(self, draft: Draft, language: Language) -> None:
        self._draft = draft
        self._language = language

    @cached_property
    def id(self) -> str:
        """The id of the chip that is made of the draft."""
        return chip_id(self._language, self._draft.prompt)

    @cached_property
    def bigrams(self) -> frozenset[str]:
        """The bigrams of the label."""
        return bigrams(self._draft.text)

    @cached_property
    def is_harmful(self) -> bool:
        """Whether its prompt must not be sent, or it mentions a crisis."""
        draft = self._draft
        return bool(
            prompt_rejection_reason(draft.prompt) or mentions_crisis(f"{draft.text} {draft.prompt}")
        )


@dataclass(frozen=True)
class BankDraft(Draft):
    """A draft of the chip bank. It outlives a request, and so do its features."""

    language: Language = "en"

    @cached_property
    def features(self) -> DraftFeatures:
        """The features of the draft."""
        return DraftFeatures(self, self.language)

    @cached_property
    def valid_length(self) -> int | None:
        """The length of a label that is valid in every context, else None."""
        return length_if_valid(self.text, self.language)


def select_chips(
    drafts: Iterable[Draft], request: SuggestRequest, chosen: Sequence[Chip] = ()
) -> list[Chip]:
    """`chosen` and chips of the first suitable drafts, up to the request's `chip_limit`."""
    chips = list(chosen)
    if len(chips) == request.chip_limit:
        return chips
    kinds = Counter(chip.kind for chip in chips)
    shown_bigrams = [bigrams(chip.text) for chip in chips]
    user_bigrams = [bigrams(text) for text in request.user_texts]
    # The cheapest checks come first: most drafts are rejected for what is shown already.
    for draft in drafts:
        if len(chips) == request.chip_limit:
            break
        if _is_kind_full(draft, kinds, request):
            continue
        features = (
            draft.features
            if isinstance(draft, BankDraft)
            else DraftFeatures(draft, request.language)
        )
        is_excluded = features.id in request.exclude or draft.text in request.exclude
        if is_excluded or any(are_similar(features.bigrams, other) for other in shown_bigrams):
            continue
        if is_echo(features.bigrams, user_bigrams) or not _is_valid(draft, features, request):
            continue
        kinds[draft.kind] += 1
        shown_bigrams.append(features.bigrams)
        attributes = (request.action, draft.kind, draft.icon, request.language, len(chips) + 1)
        chips.append(Chip(features.id, draft.text, draft.prompt, *attributes))
    return chips


def _is_kind_full(draft: Draft, kinds: Counter[str], request: SuggestRequest) -> bool:
    """Whether its kind is not among the requested ones, or, if none is requested, is used up."""
    if request.chip_kinds:
        return draft.kind not in request.chip_kinds
    return kinds[draft.kind] >= _MAX_PER_KIND


def _is_valid(draft: Draft, features: DraftFeatures, request: SuggestRequest) -> bool:
    if features.is_harmful:
        return False
    if request.injected_text and repeats_injection(
        f"{draft.text} {draft.prompt}", request.injected_text, request.context_text
    ):
        return False
    return _has_known_valid_label(draft, request) or not label_rejection_reason(
        draft.text, request.language, request.chip_chars, request.context_text
    )


def _has_known_valid_label(draft: Draft, request: SuggestRequest) -> bool:
    """Whether its label needs no check, since it is valid in every context."""
    if not isinstance(draft, BankDraft) or draft.valid_length is None:
        return False
    return draft.valid_length <= request.chip_chars
