"""The endpoint table of the model API: which method and path which endpoint serves."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from hamlet.api.auth import Keyring
from hamlet.api.dialects import ANTHROPIC, OPENAI
from hamlet.api.dispatcher import HttpEndpoint
from hamlet.api.endpoints.chat import ChatEndpoint
from hamlet.api.endpoints.embeddings import EmbeddingsEndpoint, render_openai_error
from hamlet.api.endpoints.models import ModelsEndpoint
from hamlet.api.openapi import openapi_operation
from hamlet.gateway import Gateway


def model_endpoints(
    gateway: Gateway, keyring: Callable[[], Keyring], route_names: Callable[[], Iterable[str]]
) -> list[HttpEndpoint]:
    """The endpoints of both dialects, OpenAI's also under Azure's paths.

    `keyring` and `route_names` are read for each request, since a reload replaces them.
    """
    chat = ChatEndpoint(OPENAI, gateway, keyring)
    messages = ChatEndpoint(ANTHROPIC, gateway, keyring)
    embeddings = EmbeddingsEndpoint(gateway, keyring)
    models = ModelsEndpoint(route_names, keyring)
    chat_operation = openapi_operation("Answer a conversation (Chat Completions)", "openai")
    messages_operation = openapi_operation("Answer a conversation (Messages)", "anthropic")
    embeddings_operation = openapi_operation("Embed texts", "openai")
    models_operation = openapi_operation("The models this key may use", "models")
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
        *(
            HttpEndpoint("POST", path, chat, chat.render_error, chat_operation)
            for path in chat_paths
        ),
        HttpEndpoint("POST", "/v1/messages", messages, messages.render_error, messages_operation),
        *(
            HttpEndpoint("POST", path, embeddings, render_openai_error, embeddings_operation)
            for path in embed_paths
        ),
        *(
            HttpEndpoint("GET", path, models, models.render_error, models_operation)
            for path in list_paths
        ),
    ]
