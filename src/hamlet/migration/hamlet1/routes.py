"""Which of hamlet1's paths leads where."""

from __future__ import annotations

from collections.abc import Callable

from hamlet.api.auth import Keyring
from hamlet.api.dispatcher import HotRoute
from hamlet.api.openapi import operation
from hamlet.gateway import Gateway
from hamlet.migration.hamlet1.chat import Hamlet1Chat
from hamlet.migration.hamlet1.suggest import Hamlet1Screen
from hamlet.migration.hamlet1.wire import refusal
from hamlet.suggest import SuggestService


def hamlet1_routes(
    gateway: Gateway, service: SuggestService, keyring: Callable[[], Keyring], chat_route: str
) -> list[HotRoute]:
    """hamlet1's API on hamlet's own engine."""
    chat = Hamlet1Chat(gateway, keyring, chat_route)
    screen = Hamlet1Screen(service, gateway.admission, keyring)
    asked = operation("Answer a conversation, as hamlet1 did", "hamlet1")
    linked = operation("Related links, as hamlet1 gave them", "hamlet1")
    tapped = operation("Chips, as hamlet1 gave them", "hamlet1")
    return [
        HotRoute("POST", "/api/chat", chat, refusal, asked),
        HotRoute("POST", "/api/related", screen.related, refusal, linked),
        HotRoute("GET", "/api/related", screen.related, refusal, linked),
        HotRoute("POST", "/api/chips", screen.chips, refusal, tapped),
    ]
