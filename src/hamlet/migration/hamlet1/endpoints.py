"""The endpoints of hamlet1's API."""

from __future__ import annotations

from collections.abc import Callable

from hamlet.api.auth import Keyring
from hamlet.api.dispatcher import HttpEndpoint
from hamlet.api.openapi import openapi_operation
from hamlet.gateway import Gateway
from hamlet.migration.hamlet1.chat import Hamlet1ChatEndpoint
from hamlet.migration.hamlet1.responses import error_response
from hamlet.migration.hamlet1.suggest import Hamlet1SuggestEndpoints
from hamlet.suggest import SuggestService


def hamlet1_endpoints(
    gateway: Gateway, service: SuggestService, keyring: Callable[[], Keyring], chat_route: str
) -> list[HttpEndpoint]:
    """hamlet1's paths, served by hamlet's gateway and suggest service."""
    chat = Hamlet1ChatEndpoint(gateway, keyring, chat_route)
    suggest_endpoints = Hamlet1SuggestEndpoints(service, gateway.admission, keyring)
    chat_operation = openapi_operation("Answer a conversation, as hamlet1 did", "hamlet1")
    links_operation = openapi_operation("Related links, as hamlet1 gave them", "hamlet1")
    chips_operation = openapi_operation("Chips, as hamlet1 gave them", "hamlet1")
    return [
        HttpEndpoint("POST", "/api/chat", chat, error_response, chat_operation),
        HttpEndpoint(
            "POST", "/api/related", suggest_endpoints.related, error_response, links_operation
        ),
        HttpEndpoint(
            "GET", "/api/related", suggest_endpoints.related, error_response, links_operation
        ),
        HttpEndpoint(
            "POST", "/api/chips", suggest_endpoints.chips, error_response, chips_operation
        ),
    ]
