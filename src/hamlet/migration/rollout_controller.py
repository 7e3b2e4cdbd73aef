"""Changes the rollout state: the document, its journal and the edge's runtime file together."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Mapping
from typing import Any

from hamlet.config import CutoverConfig
from hamlet.migration.edge.runtime import write_runtime
from hamlet.migration.rollout_document import (
    FeatureState,
    JournalEntry,
    RolloutDocument,
    Stage,
    TransitionCause,
)
from hamlet.migration.state_store import StateStore
from hamlet.migration.transitions import (
    TransitionRefused,
    clear_hold,
    demote,
    next_step,
    place_hold,
    promote,
)

FeatureUpdate = Callable[[FeatureState, int], FeatureState]


class StateConflict(Exception):
    """The feature was changed in the meantime; this change was not made."""


class RolloutController:
    """The changes that operators, autopilots and guardrails make, over one store. Blocking."""

    def __init__(
        self, store: StateStore, config: CutoverConfig, clock: Callable[[], float] = time.time
    ) -> None:
        self.state_store = store
        self._config = config
        self._clock = clock
        self._config_digest = hashlib.sha256(config.model_dump_json().encode()).hexdigest()[:12]

    def read(self) -> RolloutDocument:
        """The current document. Raises StateUnavailable."""
        return self.state_store.read()

    def promote(
        self,
        feature: str,
        *,
        expected: FeatureState,
        actor: str,
        cause: TransitionCause = "operator",
        to: tuple[Stage, int] | None = None,
        why: str = "",
        evidence: Mapping[str, Any] = {},
    ) -> RolloutDocument:
        """Raise a feature by one step, provided that its state is still `expected`.

        `to` is the step that the caller expects to reach, if it matters. Raises StateConflict,
        TransitionRefused or StateUnavailable.
        """

        def update(state: FeatureState, epoch: int) -> FeatureState:
            if state != expected:
                raise StateConflict(f"{feature} was changed to {state.step_label} in the meantime")
            step = next_step(state)
            if to is not None and step != to:
                raise TransitionRefused(
                    f"one step above {state.step_label} is {_describe_step(step)}"
                )
            return promote(state, self._clock(), epoch)

        return self._apply({feature: update}, cause, actor, why, evidence)

    def demote(
        self,
        features: Mapping[str, tuple[Stage, int]],
        *,
        actor: str,
        cause: TransitionCause = "operator",
        why: str = "",
        evidence: Mapping[str, Any] = {},
        cooldown: bool = True,
    ) -> RolloutDocument:
        """Lower features from whatever state they are in; one that is low enough stays as it is."""
        cooldown_s = self._config.gate.cooldown_s if cooldown else 0.0

        def update_for(to: tuple[Stage, int]) -> FeatureUpdate:
            def update(state: FeatureState, epoch: int) -> FeatureState:
                try:
                    return demote(state, to, self._clock(), epoch, cooldown_s)
                except TransitionRefused:
                    return state

            return update

        updates = {feature: update_for(to) for feature, to in features.items()}
        return self._apply(updates, cause, actor, why, evidence)

    def hold(
        self,
        feature: str,
        *,
        actor: str,
        cause: TransitionCause = "operator",
        why: str,
        evidence: Mapping[str, Any] = {},
    ) -> RolloutDocument:
        """Block promotions of a feature."""
        return self._apply(
            {feature: lambda state, epoch: place_hold(state, why)}, cause, actor, why, evidence
        )

    def release(self, feature: str, *, actor: str, why: str = "") -> RolloutDocument:
        """End a feature's hold and cooldown. Only operators may."""
        return self._apply(
            {feature: lambda state, epoch: clear_hold(state, self._clock(), epoch)},
            "operator",
            actor,
            why,
            {},
        )

    def set_shadow_percent(
        self, feature: str, percent: float, *, actor: str, why: str = ""
    ) -> RolloutDocument:
        """Set the percentage of a feature's requests that are shadowed."""

        def update(state: FeatureState, epoch: int) -> FeatureState:
            return state.model_copy(update={"shadow_percent": percent})

        return self._apply({feature: update}, "operator", actor, why, {})

    def _apply(
        self,
        updates: Mapping[str, FeatureUpdate],
        cause: TransitionCause,
        actor: str,
        why: str,
        evidence: Mapping[str, Any],
    ) -> RolloutDocument:
        def transform(document: RolloutDocument) -> tuple[RolloutDocument, list[JournalEntry]]:
            epoch, entries = document.epoch + 1, []
            for feature, update in updates.items():
                before = document.feature_state(feature)
                after = update(before, epoch)
                if after.exposure != before.exposure:
                    after = after.model_copy(update={"cause": cause})
                if after == before:
                    continue
                document = document.with_feature_state(feature, after)
                entries.append(
                    JournalEntry(
                        at=self._clock(),
                        epoch=epoch,
                        feature=feature,
                        before=_describe_state(before),
                        after=_describe_state(after),
                        cause=cause,
                        actor=actor,
                        why=why,
                        evidence=dict(evidence),
                        config=self._config_digest,
                    )
                )
            return document.advance_epoch(entries, self._clock()), entries

        document = self.state_store.update(transform)
        if self._config.edge.runtime is not None:
            write_runtime(self._config.edge.runtime, self._config, document)
        return document


def _describe_state(state: FeatureState) -> str:
    return f"{state.step_label} (held)" if state.hold else state.step_label


def _describe_step(step: tuple[Stage, int] | None) -> str:
    if step is None:
        return "nothing"
    return f"canary {step[1] / 100:g}%" if step[0] == "canary" else step[0]
