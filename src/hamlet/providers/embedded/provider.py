"""The adapter of the embedded model, which has no transport."""

from __future__ import annotations

import asyncio
import re
import zlib
from collections.abc import AsyncGenerator, Mapping, Sequence
from typing import Any, ClassVar

import orjson
from pydantic import Field

from hamlet.core import (
    ChatEvent,
    ChatRequest,
    EmbeddingRequest,
    EmbeddingResponse,
    Feature,
    Finished,
    FinishReason,
    ModelCard,
    NamedTool,
    Started,
    TextDelta,
    Tool,
    ToolCallDelta,
    Usage,
    pack,
)
from hamlet.core.errors import ModelMissing, Unsupported
from hamlet.providers.embedded.answer import all_text, compose_answer
from hamlet.providers.embedded.structured import SchemaFiller
from hamlet.providers.embedded.vectors import DIMENSIONS, hash_embedding
from hamlet.spi import API_VERSION, ProviderSettings, Runtime

CHAT_MODEL, EMBED_MODEL = "embedded-chat", "embedded-embed"
# A word with its leading spaces, or two characters of a script without spaces.
_TOKEN = re.compile(r"\s*[!-~]+|\s*[^\s!-~]{1,2}|\s+")


class EmbeddedSettings(ProviderSettings):
    """`tokens_per_s` is the rate of streams; 0 is as fast as possible."""

    tokens_per_s: float = Field(default=120.0, ge=0)


class Embedded:
    """hamlet's own extractive model, and its hashed embeddings."""

    api_version: ClassVar[int] = API_VERSION
    Settings: ClassVar[type[ProviderSettings]] = EmbeddedSettings
    cards: ClassVar[Mapping[str, ModelCard]] = {
        CHAT_MODEL: ModelCard(
            kind="chat",
            features=frozenset({Feature.TOOLS, Feature.JSON, Feature.JSON_SCHEMA}),
            params=frozenset({"max_tokens", "stop"}),
        ),
        EMBED_MODEL: ModelCard(kind="embeddings", dimensions=DIMENSIONS),
    }

    def __init__(self, settings: EmbeddedSettings, runtime: Runtime) -> None:
        self._token_delay_s = 1 / settings.tokens_per_s if settings.tokens_per_s else 0.0

    async def chat(self, request: ChatRequest) -> AsyncGenerator[ChatEvent, None]:
        _require_model(request.model, CHAT_MODEL)
        input_tokens = _count_tokens(all_text(request.messages))
        yield Started(_response_id(request), CHAT_MODEL)
        if tool := _forced_tool(request):
            arguments = _json_text(request, tool.parameters)
            yield ToolCallDelta(0, f"call_{_digest(request)}", tool.name)
            yield ToolCallDelta(0, arguments=arguments)
            yield Finished(
                FinishReason.TOOL_CALLS,
                _estimated_usage(input_tokens, _count_tokens(arguments)),
                "tool_calls",
            )
            return
        tokens, reason = _truncate(_response_text(request), request)
        for token in tokens:
            if request.stream and self._token_delay_s:
                await asyncio.sleep(self._token_delay_s)
            yield TextDelta(0, token)
        yield Finished(reason, _estimated_usage(input_tokens, len(tokens)), reason.value)

    async def embed(self, request: EmbeddingRequest) -> EmbeddingResponse:
        _require_model(request.model, EMBED_MODEL)
        dimensions = request.dimensions or DIMENSIONS
        if not 1 <= dimensions <= 4096:
            raise Unsupported("dimensions: from 1 to 4096")
        vectors = tuple(pack(hash_embedding(text, dimensions)) for text in request.inputs)
        input_tokens = sum(_count_tokens(text) for text in request.inputs)
        return EmbeddingResponse(
            EMBED_MODEL, vectors, Usage(input_tokens=input_tokens, estimated=True)
        )

    async def models(self) -> Sequence[str]:
        return list(self.cards)

    async def probe(self) -> None:
        return


def _require_model(model: str, expected: str) -> None:
    if model != expected:
        raise ModelMissing(f"the embedded provider has no model {model!r} for this")


def _forced_tool(request: ChatRequest) -> Tool | None:
    """The tool that the caller forces; this model calls none by itself."""
    if request.messages and request.messages[-1].role == "tool":
        return None
    match request.tool_choice:
        case NamedTool(name):
            return next((tool for tool in request.tools if tool.name == name), None)
        case "required":
            return request.tools[0] if request.tools else None
    return None


def _response_text(request: ChatRequest) -> str:
    match request.output.kind:
        case "schema":
            return _json_text(request, request.output.schema or {})
        case "json":
            return _json_text(request, {"properties": {"answer": {"type": "string"}}})
    return compose_answer(request)


def _json_text(request: ChatRequest, schema: Mapping[str, Any]) -> str:
    filled = SchemaFiller(all_text(request.messages), {"type": "object", **schema}).fill()
    return orjson.dumps(filled).decode()


def _truncate(text: str, request: ChatRequest) -> tuple[list[str], FinishReason]:
    """The tokens up to a stop sequence or the limit."""
    stop_positions = [text.find(stop) for stop in request.params.stop or () if stop]
    found = [end for end in stop_positions if end >= 0]
    tokens = _TOKEN.findall(text[: min(found)] if found else text)
    limit = request.params.max_tokens
    if limit is not None and len(tokens) > limit:
        return tokens[:limit], FinishReason.LENGTH
    return tokens, FinishReason.STOP


def _count_tokens(text: str) -> int:
    return len(_TOKEN.findall(text))


def _estimated_usage(input_tokens: int, output_tokens: int) -> Usage:
    return Usage(input_tokens=input_tokens, output_tokens=output_tokens, estimated=True)


def _response_id(request: ChatRequest) -> str:
    return f"embedded-{_digest(request)}"


def _digest(request: ChatRequest) -> str:
    return f"{zlib.crc32(all_text(request.messages).encode()):08x}"
