"""The chat endpoint around a call."""

import asyncio
import json
from typing import Any

import pytest

from hamlet.api.auth import Keyring
from hamlet.api.dialects.openai import OpenAIDialect
from hamlet.api.endpoints.chat import ChatEndpoint
from hamlet.api.http import Request
from hamlet.core.errors import NoDeployment


@pytest.mark.parametrize(
    ("size", "order"), [(300_000, ["others", "sent"]), (300, ["sent", "others"])]
)
async def test_large_body_yields_to_event_loop(size: int, order: list[str]) -> None:
    seen: list[str] = []

    class Reading(OpenAIDialect):
        def parse(self, request: Request) -> Any:
            asyncio.get_running_loop().call_soon(seen.append, "others")
            return super().parse(request)

    class Sending:
        async def chat(self, *_: object) -> None:
            seen.append("sent")
            raise NoDeployment("nobody is there")

    gateway: Any = Sending()
    endpoint = ChatEndpoint(Reading(), gateway, lambda: Keyring(()))
    turns = [{"role": "user", "content": "x" * size}]
    body = json.dumps({"model": "m", "messages": turns}).encode()
    await endpoint(Request("POST", "/v1/chat/completions", {}, {}, body, "req_1"))
    await asyncio.sleep(0)
    assert seen == order
