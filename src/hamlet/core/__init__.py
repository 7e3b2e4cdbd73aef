"""hamlet's nouns: everything a plugin author needs to speak of a model call."""

from hamlet.core import errors
from hamlet.core.card import ALL_FEATURES, Feature, ModelCard, Price
from hamlet.core.chat import (
    TEXT_OUTPUT,
    ChatEvent,
    ChatRequest,
    ChatResponse,
    Delta,
    Finished,
    NamedTool,
    Output,
    ReasoningDelta,
    Started,
    TextDelta,
    Tool,
    ToolCallDelta,
    ToolChoice,
    collect,
    is_content,
    with_headroom,
)
from hamlet.core.embeddings import EmbeddingRequest, EmbeddingResponse, pack, unpack
from hamlet.core.headroom import Headroom
from hamlet.core.messages import (
    Audio,
    Document,
    Image,
    Message,
    Meta,
    Part,
    Reasoning,
    Role,
    Text,
    ToolCall,
    ToolResult,
)
from hamlet.core.native import NativeChunk, NativeRequest
from hamlet.core.params import ChatParams
from hamlet.core.redact import redact
from hamlet.core.terms import NO_TERMS, Terms
from hamlet.core.usage import FinishReason, Usage, token_count

__all__ = [
    "ALL_FEATURES",
    "NO_TERMS",
    "TEXT_OUTPUT",
    "Audio",
    "ChatEvent",
    "ChatParams",
    "ChatRequest",
    "ChatResponse",
    "Delta",
    "Document",
    "EmbeddingRequest",
    "EmbeddingResponse",
    "Feature",
    "FinishReason",
    "Finished",
    "Headroom",
    "Image",
    "Message",
    "Meta",
    "ModelCard",
    "NamedTool",
    "NativeChunk",
    "NativeRequest",
    "Output",
    "Part",
    "Price",
    "Reasoning",
    "ReasoningDelta",
    "Role",
    "Started",
    "Terms",
    "Text",
    "TextDelta",
    "Tool",
    "ToolCall",
    "ToolCallDelta",
    "ToolChoice",
    "ToolResult",
    "Usage",
    "collect",
    "errors",
    "is_content",
    "pack",
    "redact",
    "token_count",
    "unpack",
    "with_headroom",
]
