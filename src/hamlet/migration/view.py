"""What one replica knows of the document, and how it lowers exposure by itself."""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import Callable, Mapping
from typing import Any

from hamlet.migration.model import Document, FeatureState, Stage, lowest, merged
from hamlet.migration.rollout_controller import Board
from hamlet.migration.store import StateUnreadable
from hamlet.migration.transitions import MoveRefused, held, lowered
from hamlet.spi import Log


class View:
    """The document as known here. Reading fails or lags: what is known stays, or goes down.

    A lowering counts here at once, and for all as soon as the store has it; until then it is tried
    again and laid over whatever is read.
    """

    def __init__(self, board: Board, log: Log, name: str | None = None) -> None:
        self._board, self._log = board, log
        self._name = name or f"{socket.gethostname()}:replica"
        self.document = Document()
        self.readable = False
        self._pending: dict[str, tuple[FeatureState, Callable[[], Document]]] = {}
        self.on_change: Callable[[Document, Document], None] = lambda before, after: None

    def state(self, feature: str) -> FeatureState:
        """Where a feature stands, as far as this replica knows."""
        return self.document.of(feature)

    async def refresh(self) -> None:
        """Read the document, and tell the store of what it has not heard. Never raises."""
        try:
            self._adopt(await asyncio.to_thread(self._board.read))
            self.readable = True
        except StateUnreadable as error:
            if self.readable:
                self._log.error("cutover.state_unreadable", problem=str(error))
            self.readable = False
        await self._tell()

    async def lower(
        self, feature: str, to: tuple[Stage, int], why: str, evidence: Mapping[str, Any]
    ) -> None:
        """Lower a feature, here at once."""
        epoch = self.document.epoch
        try:
            low = lowered(self.state(feature), to, time.time(), epoch)
            low = low.model_copy(update={"cause": "guardrail"})
        except MoveRefused:
            return

        def tell() -> Document:
            return self._board.down(
                {feature: to}, actor=self._name, cause="guardrail", why=why, evidence=evidence
            )

        await self._do(feature, low, tell, why)

    async def hold(self, feature: str, why: str, evidence: Mapping[str, Any]) -> None:
        """Keep a feature from being raised."""
        state = self.state(feature)
        if state.hold:
            return

        def tell() -> Document:
            return self._board.hold(
                feature, actor=self._name, cause="guardrail", why=why, evidence=evidence
            )

        await self._do(feature, held(state, why), tell, why)

    async def _do(
        self, feature: str, state: FeatureState, tell: Callable[[], Document], why: str
    ) -> None:
        self._log.warning("cutover.guardrail_tripped", feature=feature, to=state.step, why=why)
        self._pending[feature] = (state, tell)
        self._adopt(self.document)
        await self._tell()

    async def _tell(self) -> None:
        for feature, (_, tell) in list(self._pending.items()):
            try:
                document = await asyncio.to_thread(tell)
            except StateUnreadable as error:
                self._log.error("cutover.state_unwritable", problem=str(error))
                return
            self._pending.pop(feature, None)
            self._adopt(document)

    def _adopt(self, read: Document) -> None:
        before, after = self.document, merged(self.document, read)
        if read.epoch < before.epoch and after != before:
            self._log.error("cutover.epoch_backwards", known=before.epoch, read=read.epoch)
        for feature, (state, _) in self._pending.items():
            after = after.having(feature, lowest(after.of(feature), state))
        if after != before:
            self.document = after
            self.on_change(before, after)
