"""Moving features: each move changes the document, the journal, and what the edge reads."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Mapping
from typing import Any

from hamlet.config import CutoverConfig
from hamlet.migration.edge.runtime import write_runtime
from hamlet.migration.model import Cause, Document, Entry, FeatureState, Stage
from hamlet.migration.store import StateStore, changed
from hamlet.migration.transitions import MoveRefused, held, lowered, next_step, raised, released

Make = Callable[[FeatureState, int], FeatureState]


class StateConflict(Exception):
    """Someone else changed the feature in the meantime; nothing was done."""


class Board:
    """What operators, autopilots and guardrails do, over one store."""

    def __init__(
        self, store: StateStore, config: CutoverConfig, clock: Callable[[], float] = time.time
    ) -> None:
        self.store = store
        self._config = config
        self._clock = clock
        self._digest = hashlib.sha256(config.model_dump_json().encode()).hexdigest()[:12]

    def read(self) -> Document:
        """The document. Raises StateUnreadable."""
        return self.store.read()

    def up(
        self,
        feature: str,
        *,
        seen: FeatureState,
        actor: str,
        cause: Cause = "operator",
        to: tuple[Stage, int] | None = None,
        why: str = "",
        evidence: Mapping[str, Any] = {},
    ) -> Document:
        """Raise a feature by one step, if it still stands as it was `seen`.

        `to` is where the caller believes that step to lead. Raises StateConflict, MoveRefused.
        """

        def make(state: FeatureState, epoch: int) -> FeatureState:
            if state != seen:
                raise StateConflict(f"{feature} was moved to {state.step} in the meantime")
            step = next_step(state)
            if to is not None and step != to:
                raise MoveRefused(f"one step above {state.step} is {_named(step)}")
            return raised(state, self._clock(), epoch)

        return self._change({feature: make}, cause, actor, why, evidence)

    def down(
        self,
        features: Mapping[str, tuple[Stage, int]],
        *,
        actor: str,
        cause: Cause = "operator",
        why: str = "",
        evidence: Mapping[str, Any] = {},
        cooldown: bool = True,
    ) -> Document:
        """Lower features, wherever they stand now; one that is low enough stays where it is."""
        cooldown_s = self._config.gate.cooldown_s if cooldown else 0.0

        def make_for(to: tuple[Stage, int]) -> Make:
            def make(state: FeatureState, epoch: int) -> FeatureState:
                try:
                    return lowered(state, to, self._clock(), epoch, cooldown_s)
                except MoveRefused:
                    return state

            return make

        makes = {feature: make_for(to) for feature, to in features.items()}
        return self._change(makes, cause, actor, why, evidence)

    def hold(
        self,
        feature: str,
        *,
        actor: str,
        cause: Cause = "operator",
        why: str,
        evidence: Mapping[str, Any] = {},
    ) -> Document:
        """Keep a feature from being raised."""
        return self._change(
            {feature: lambda state, epoch: held(state, why)}, cause, actor, why, evidence
        )

    def release(self, feature: str, *, actor: str, why: str = "") -> Document:
        """End a feature's hold and cooling down. Operators only."""
        return self._change(
            {feature: lambda state, epoch: released(state, self._clock(), epoch)},
            "operator",
            actor,
            why,
            {},
        )

    def sample(self, feature: str, percent: float, *, actor: str, why: str = "") -> Document:
        """How many percent of a feature's requests are tried in the dark."""

        def make(state: FeatureState, epoch: int) -> FeatureState:
            return state.model_copy(update={"shadow_percent": percent})

        return self._change({feature: make}, "operator", actor, why, {})

    def _change(
        self,
        makes: Mapping[str, Make],
        cause: Cause,
        actor: str,
        why: str,
        evidence: Mapping[str, Any],
    ) -> Document:
        def change(document: Document) -> tuple[Document, list[Entry]]:
            epoch, entries = document.epoch + 1, []
            for feature, make in makes.items():
                before = document.of(feature)
                after = make(before, epoch)
                if after.exposure != before.exposure:
                    after = after.model_copy(update={"cause": cause})
                if after == before:
                    continue
                document = document.having(feature, after)
                entries.append(
                    Entry(
                        at=self._clock(),
                        epoch=epoch,
                        feature=feature,
                        before=_told(before),
                        after=_told(after),
                        cause=cause,
                        actor=actor,
                        why=why,
                        evidence=dict(evidence),
                        config=self._digest,
                    )
                )
            return changed(document, entries, self._clock), entries

        document = self.store.change(change)
        if self._config.edge.runtime is not None:
            write_runtime(self._config.edge.runtime, self._config, document)
        return document


def _told(state: FeatureState) -> str:
    return f"{state.step} (held)" if state.hold else state.step


def _named(step: tuple[Stage, int] | None) -> str:
    if step is None:
        return "nothing"
    return f"canary {step[1] / 100:g}%" if step[0] == "canary" else step[0]
