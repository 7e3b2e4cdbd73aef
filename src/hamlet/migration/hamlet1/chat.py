"""hamlet1's chat: senders and texts in, `reply` or the events token, done and error out."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Mapping
from typing import Any

import orjson
from pydantic import ValidationError

from hamlet.api.auth import Keyring
from hamlet.api.endpoints.chat import ChatEndpoint
from hamlet.api.http import Opening, Reply, Request, Response
from hamlet.core import (
    ChatEvent,
    ChatParams,
    ChatRequest,
    ChatResponse,
    Finished,
    FinishReason,
    Message,
    Role,
    Text,
    TextDelta,
    Usage,
)
from hamlet.core.errors import BadRequest, HamletError, InvalidRequest
from hamlet.gateway import Call, Caller, Gateway
from hamlet.migration.hamlet1 import wire

_ROLES: Mapping[Any, Role] = {"user": "user", "bot": "assistant", "system": "system"}
_FINISH = {
    FinishReason.LENGTH: "length",
    FinishReason.CONTENT_FILTER: "filtered",
    FinishReason.TOOL_CALLS: "tool",
}
_PARAMS = {"maxLength": "max_tokens", "temperature": "temperature"}


class Hamlet1Chat:
    """POST /api/chat. Every question goes to `route`: hamlet1 knew one model."""

    def __init__(self, gateway: Gateway, keyring: Callable[[], Keyring], route: str) -> None:
        self._gateway, self._keyring, self._route = gateway, keyring, route

    async def __call__(self, request: Request) -> Reply:
        dialect = Hamlet1Dialect(self._route)
        try:
            caller = wire.caller_of(self._keyring(), request.headers, self._route)
            reply = await _Endpoint(dialect, self._gateway, caller)(request)
        except HamletError as error:
            return wire.refusal(error, request.id)
        if isinstance(reply, Opening):
            # Without a charset, as hamlet1 says it.
            reply.headers |= {"content-type": "text/event-stream", "cache-control": "no-cache"}
        else:
            reply.media_type = wire.JSON
        return reply


class _Endpoint(ChatEndpoint):
    """The common endpoint, for a caller who is known already and reads hamlet1's errors."""

    def __init__(self, dialect: Hamlet1Dialect, gateway: Gateway, caller: Caller) -> None:
        super().__init__(dialect, gateway, lambda: _Known(caller))

    def refuse(self, error: HamletError, request_id: str) -> Response:
        return wire.refusal(error, request_id)


class _Known(Keyring):
    def __init__(self, caller: Caller) -> None:
        super().__init__(())
        self._caller = caller

    def caller(self, headers: Mapping[str, str]) -> Caller:
        return self._caller


class Hamlet1Dialect:
    """One question in hamlet1's words, and its answer."""

    name = "hamlet1"
    keepalive = b":\n\n"

    def __init__(self, route: str) -> None:
        self._route = route
        self._began = wire.now_ms()

    def parse(self, request: Request) -> Call:
        """Read a question. Raises BadRequest in hamlet1's words."""
        fields = wire.fields_of(request)
        messages = fields.get("messages")
        if not isinstance(messages, list) or not messages:
            raise BadRequest("messages: a list is needed")
        if not all(_is_message(message) for message in messages):
            raise BadRequest("messages: each has sender and text")
        asked = ChatRequest(
            model=self._route,
            messages=tuple(Message(_ROLES[m["sender"]], (Text(m["text"]),)) for m in messages),
            params=_params(fields),
            stream=bool(fields.get("stream")),
        )
        return Call.of(asked, request.id)

    def whole(self, answer: ChatResponse) -> bytes:
        """`{"ok": true, "reply": ...}`"""
        finish = _FINISH.get(answer.reason, "stop")
        text = None if finish == "filtered" else answer.text
        now = wire.now_ms()
        return wire.line(
            {
                "ok": True,
                "reply": {"text": text, "finish": finish},
                "usage": _counts(answer.usage),
                "id": _id(),
                "ts": now,
                "took": now - self._began,
            }
        )

    def encoder(self, call: Call) -> Hamlet1Encoder:
        return Hamlet1Encoder()

    def error_body(self, error: HamletError, request_id: str) -> bytes:
        return wire.error_body(error)

    def error_frame(self, body: bytes) -> bytes:
        """The event `error`; hamlet1 tells no time in it."""
        told = orjson.loads(body)
        return _event("error", {"ok": False, "error": told["error"]})

    def id_headers(self, request_id: str) -> dict[str, str]:
        return wire.POWERED | {"x-request-id": request_id}


class Hamlet1Encoder:
    """Named events."""

    def frames(self, event: ChatEvent) -> bytes:
        """The frames of one event."""
        match event:
            case TextDelta() if event.text:
                return _event("token", {"t": event.text})
            case Finished():
                finish = _FINISH.get(event.reason, "stop")
                return _event(
                    "done", {"finish": finish, "usage": _counts(event.usage), "id": _id()}
                )
        return b""


def _is_message(message: Any) -> bool:
    if not isinstance(message, dict) or not isinstance(message.get("sender"), str):
        return False
    return message["sender"] in _ROLES and isinstance(message.get("text"), str)


def _params(fields: Mapping[str, Any]) -> ChatParams:
    """hamlet1 passes these on as they are, and what the vendor refuses is the vendor's fault."""
    given = {ours: fields[theirs] for theirs, ours in _PARAMS.items() if fields.get(theirs)}
    if fields.get("temperature") == 0:
        given["temperature"] = 0
    try:
        return ChatParams.model_validate(given)
    except ValidationError:
        raise InvalidRequest("the model refused") from None


def _event(name: str, data: Any) -> bytes:
    return b"event: %s\ndata: %s\n\n" % (name.encode(), orjson.dumps(data))


def _counts(usage: Usage) -> dict[str, int]:
    return {"in": usage.input_tokens or 0, "out": usage.output_tokens or 0}


def _id() -> str:
    return f"r_{secrets.token_hex(6)}"
