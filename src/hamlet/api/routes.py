"""Which hot route leads where."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from hamlet.api.auth import Keyring
from hamlet.api.dialects import ANTHROPIC, OPENAI
from hamlet.api.dispatcher import HotRoute
from hamlet.api.endpoints.chat import ChatEndpoint
from hamlet.api.endpoints.embeddings import EmbeddingsEndpoint, refuse
from hamlet.api.endpoints.models import ModelsEndpoint
from hamlet.api.openapi import operation
from hamlet.gateway import Gateway


def model_routes(
    gateway: Gateway, keyring: Callable[[], Keyring], names: Callable[[], Iterable[str]]
) -> list[HotRoute]:
    """The routes of both dialects, and OpenAI's in Azure's path forms."""
    chat = ChatEndpoint(OPENAI, gateway, keyring)
    messages = ChatEndpoint(ANTHROPIC, gateway, keyring)
    embeddings = EmbeddingsEndpoint(gateway, keyring)
    models = ModelsEndpoint(names, keyring)
    said = operation("Answer a conversation (Chat Completions)", "openai")
    asked = operation("Answer a conversation (Messages)", "anthropic")
    packed = operation("Embed texts", "openai")
    listed = operation("The models this key may use", "models")
    chat_paths = (
        "/v1/chat/completions",
        "/openai/v1/chat/completions",
        "/openai/deployments/{deployment}/chat/completions",
    )
    embed_paths = (
        "/v1/embeddings",
        "/openai/v1/embeddings",
        "/openai/deployments/{deployment}/embeddings",
    )
    list_paths = ("/v1/models", "/v1/models/{model}", "/openai/v1/models")
    return [
        *(HotRoute("POST", path, chat, chat.refuse, said) for path in chat_paths),
        HotRoute("POST", "/v1/messages", messages, messages.refuse, asked),
        *(HotRoute("POST", path, embeddings, refuse, packed) for path in embed_paths),
        *(HotRoute("GET", path, models, models.refuse, listed) for path in list_paths),
    ]
