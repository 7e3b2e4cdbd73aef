"""One replica's copy of the rollout document, and how the replica lowers exposure on its own."""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import Callable, Mapping
from typing import Any

from hamlet.migration.rollout_controller import RolloutController
from hamlet.migration.rollout_document import (
    FeatureState,
    RolloutDocument,
    Stage,
    least_exposed,
    reconcile,
)
from hamlet.migration.state_store import StateUnavailable
from hamlet.migration.transitions import TransitionRefused, demote, place_hold
from hamlet.spi import Log


class LocalRolloutState:
    """The rollout document as this replica knows it.

    If the store cannot be read, the last known document stays in force. A demotion or hold takes
    effect here at once and for all replicas when the store accepts it; until then it is retried and
    overlaid on every document that is read.
    """

    def __init__(
        self,
        controller: RolloutController,
        log: Log,
        *,
        on_change: Callable[[RolloutDocument], None] = lambda document: None,
        name: str | None = None,
    ) -> None:
        """`on_change` gets every document that differs from the one before it."""
        self._controller, self._log, self._on_change = controller, log, on_change
        self._actor = name or f"{socket.gethostname()}:replica"
        self.document = RolloutDocument()
        self.is_readable = False
        self._pending_writes: dict[str, tuple[FeatureState, Callable[[], RolloutDocument]]] = {}

    def feature_state(self, feature: str) -> FeatureState:
        """The state of a feature, as far as this replica knows."""
        return self.document.feature_state(feature)

    async def refresh(self) -> None:
        """Read the document and retry pending writes. Never raises."""
        try:
            self._merge_received(await asyncio.to_thread(self._controller.read))
            self.is_readable = True
        except StateUnavailable as error:
            if self.is_readable:
                self._log.error("cutover.state_unreadable", problem=str(error))
            self.is_readable = False
        await self._flush_pending()

    async def demote(
        self, feature: str, to: tuple[Stage, int], why: str, evidence: Mapping[str, Any]
    ) -> None:
        """Lower a feature, here at once. Does nothing if `to` is not lower."""
        epoch = self.document.epoch
        try:
            lowered = demote(self.feature_state(feature), to, time.time(), epoch)
        except TransitionRefused:
            return
        lowered = lowered.model_copy(update={"cause": "guardrail"})

        def write() -> RolloutDocument:
            return self._controller.demote(
                {feature: to}, actor=self._actor, cause="guardrail", why=why, evidence=evidence
            )

        await self._apply_locally(feature, lowered, write, why)

    async def hold(self, feature: str, why: str, evidence: Mapping[str, Any]) -> None:
        """Block promotions of a feature, here at once. Does nothing if it is held already."""
        state = self.feature_state(feature)
        if state.hold:
            return

        def write() -> RolloutDocument:
            return self._controller.hold(
                feature, actor=self._actor, cause="guardrail", why=why, evidence=evidence
            )

        await self._apply_locally(feature, place_hold(state, why), write, why)

    async def _apply_locally(
        self, feature: str, state: FeatureState, write: Callable[[], RolloutDocument], why: str
    ) -> None:
        self._log.warning(
            "cutover.guardrail_tripped", feature=feature, to=state.step_label, why=why
        )
        self._pending_writes[feature] = (state, write)
        self._merge_received(self.document)
        await self._flush_pending()

    async def _flush_pending(self) -> None:
        for feature, (_, write) in list(self._pending_writes.items()):
            try:
                document = await asyncio.to_thread(write)
            except StateUnavailable as error:
                self._log.error("cutover.state_unwritable", problem=str(error))
                return
            self._pending_writes.pop(feature, None)
            self._merge_received(document)

    def _merge_received(self, received: RolloutDocument) -> None:
        before, after = self.document, reconcile(self.document, received)
        if received.epoch < before.epoch and after != before:
            self._log.error("cutover.epoch_backwards", known=before.epoch, read=received.epoch)
        for feature, (state, _) in self._pending_writes.items():
            after = after.with_feature_state(
                feature, least_exposed(after.feature_state(feature), state)
            )
        if after != before:
            self.document = after
            self._on_change(after)
