"""A scripted in-memory provider: answers, waits and errors."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Mapping, Sequence
from typing import Any, ClassVar

from hamlet.core import (
    ChatEvent,
    ChatRequest,
    EmbeddingRequest,
    EmbeddingResponse,
    Finished,
    FinishReason,
    ModelCard,
    NativeChunk,
    NativeRequest,
    Started,
    TextDelta,
    Usage,
    pack,
)
from hamlet.spi import API_VERSION, ProviderSettings

ScriptStep = ChatEvent | NativeChunk | BaseException | asyncio.Event | float
Script = Sequence[ScriptStep]


def says(*texts: str, model: str = "scripted", usage: Usage | None = None) -> list[ScriptStep]:
    """The script of a plain answer with one delta per text."""
    deltas = [TextDelta(0, text) for text in texts]
    end = Finished(FinishReason.STOP, usage or Usage(3, len(texts)), "stop")
    return [Started("scripted-1", model), *deltas, end]


class ScriptedProvider:
    """Each call runs the next of `scripts`; the last one repeats.

    A step is an item to yield, an exception to raise, an event to wait for, or seconds to sleep.
    `calls` are the received requests, `closed` counts closed generators.
    """

    api_version: ClassVar[int] = API_VERSION
    Settings: ClassVar[type[ProviderSettings]] = ProviderSettings
    cards: ClassVar[Mapping[str, ModelCard]] = {}

    def __init__(self, *scripts: Script, vectors: Sequence[Sequence[float]] = ()) -> None:
        self._scripts = [list(script) for script in scripts] or [says("hello")]
        self._vectors = [list(vector) for vector in vectors]
        self.calls: list[Any] = []
        self.closed = 0
        self.finished = False

    def chat(self, request: ChatRequest) -> AsyncGenerator[ChatEvent, None]:
        return self._run_script(request)

    async def embed(self, request: EmbeddingRequest) -> EmbeddingResponse:
        self.calls.append(request)
        for step in self._next_script():
            await _run_step(step)
        vectors = self._vectors or [[1.0, 0.0] for _ in request.inputs]
        packed = tuple(pack(vector) for vector in vectors)
        return EmbeddingResponse(request.model, packed, Usage(input_tokens=len(request.inputs)))

    async def aclose(self) -> None:
        self.finished = True

    def _next_script(self) -> Script:
        return self._scripts.pop(0) if len(self._scripts) > 1 else self._scripts[0]

    async def _run_script(self, request: Any) -> AsyncGenerator[Any, None]:
        self.calls.append(request)
        try:
            for step in self._next_script():
                if await _run_step(step):
                    yield step
        finally:
            self.closed += 1


class ScriptedNativeProvider(ScriptedProvider):
    """A scripted provider with the fast lane of the dialect "openai"."""

    dialect: ClassVar[str] = "openai"

    def native(self, request: NativeRequest) -> AsyncGenerator[NativeChunk, None]:
        return self._run_script(request)


async def _run_step(step: ScriptStep) -> bool:
    """Run a step; True if it is an item to yield."""
    if isinstance(step, BaseException):
        raise step
    if isinstance(step, asyncio.Event):
        await step.wait()
        return False
    if isinstance(step, (int, float)):
        await asyncio.sleep(step)
        return False
    return True
