"""hamlet1's chat API: messages of senders in; a `reply` or the events token, done and error out."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Mapping
from typing import Any

import orjson
from pydantic import ValidationError

from hamlet.api.auth import Keyring
from hamlet.api.endpoints.chat import ChatEndpoint
from hamlet.api.http import HandlerResult, PendingStream, Request, Response
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
from hamlet.migration.hamlet1 import responses as wire

_ROLES: Mapping[Any, Role] = {"user": "user", "bot": "assistant", "system": "system"}
_FINISH_NAMES = {
    FinishReason.LENGTH: "length",
    FinishReason.CONTENT_FILTER: "filtered",
    FinishReason.TOOL_CALLS: "tool",
}
_PARAM_NAMES = {"maxLength": "max_tokens", "temperature": "temperature"}


class Hamlet1ChatEndpoint:
    """POST /api/chat. All requests go to `route`, since hamlet1 had a single model."""

    def __init__(self, gateway: Gateway, keyring: Callable[[], Keyring], route: str) -> None:
        self._gateway, self._keyring, self._route = gateway, keyring, route

    async def __call__(self, request: Request) -> HandlerResult:
        dialect = Hamlet1Dialect(self._route)
        try:
            caller = wire.authenticate_or_default(self._keyring(), request.headers, self._route)
            reply = await _AuthenticatedChatEndpoint(dialect, self._gateway, caller)(request)
        except HamletError as error:
            return wire.error_response(error, request.id)
        if isinstance(reply, PendingStream):
            # hamlet1 sends no charset.
            reply.headers |= {"content-type": "text/event-stream", "cache-control": "no-cache"}
        else:
            reply.media_type = wire.JSON
        return reply


class _AuthenticatedChatEndpoint(ChatEndpoint):
    """The common chat endpoint for an authenticated caller, with hamlet1's errors."""

    def __init__(self, dialect: Hamlet1Dialect, gateway: Gateway, caller: Caller) -> None:
        super().__init__(dialect, gateway, lambda: _FixedKeyring(caller))

    def render_error(self, error: HamletError, request_id: str) -> Response:
        return wire.error_response(error, request_id)


class _FixedKeyring(Keyring):
    def __init__(self, caller: Caller) -> None:
        super().__init__(())
        self._caller = caller

    def authenticate(self, headers: Mapping[str, str]) -> Caller:
        return self._caller


class Hamlet1Dialect:
    """Translates one request and its response."""

    name = "hamlet1"
    keepalive = b":\n\n"

    def __init__(self, route: str) -> None:
        self._route = route
        self._started_ms = wire.now_ms()

    def parse(self, request: Request) -> Call:
        """Parse a request. Raises BadRequest with hamlet1's messages."""
        fields = wire.parse_fields(request)
        messages = fields.get("messages")
        if not isinstance(messages, list) or not messages:
            raise BadRequest("messages: a list is needed")
        if not all(_is_message(message) for message in messages):
            raise BadRequest("messages: each has sender and text")
        chat_request = ChatRequest(
            model=self._route,
            messages=tuple(Message(_ROLES[m["sender"]], (Text(m["text"]),)) for m in messages),
            params=_parse_params(fields),
            stream=bool(fields.get("stream")),
        )
        return Call.from_request(chat_request, request.id)

    def encode_response(self, response: ChatResponse) -> bytes:
        """`{"ok": true, "reply": ...}`"""
        finish = _FINISH_NAMES.get(response.reason, "stop")
        text = None if finish == "filtered" else response.text
        now = wire.now_ms()
        return wire.encode_line(
            {
                "ok": True,
                "reply": {"text": text, "finish": finish},
                "usage": _usage_counts(response.usage),
                "id": _new_response_id(),
                "ts": now,
                "took": now - self._started_ms,
            }
        )

    def new_encoder(self, call: Call) -> Hamlet1Encoder:
        return Hamlet1Encoder()

    def error_body(self, error: HamletError, request_id: str) -> bytes:
        return wire.error_body(error)

    def error_frame(self, body: bytes) -> bytes:
        """The event `error`, which in hamlet1 has no `ts`."""
        payload = orjson.loads(body)
        return _encode_event("error", {"ok": False, "error": payload["error"]})

    def id_headers(self, request_id: str) -> dict[str, str]:
        return wire.POWERED_BY_HEADERS | {"x-request-id": request_id}


class Hamlet1Encoder:
    """Encodes chat events as hamlet1's named server-sent events."""

    def encode(self, event: ChatEvent) -> bytes:
        """The frames of one event; empty if hamlet1 has no such event."""
        match event:
            case TextDelta() if event.text:
                return _encode_event("token", {"t": event.text})
            case Finished():
                finish = _FINISH_NAMES.get(event.reason, "stop")
                return _encode_event(
                    "done",
                    {
                        "finish": finish,
                        "usage": _usage_counts(event.usage),
                        "id": _new_response_id(),
                    },
                )
        return b""


def _is_message(message: Any) -> bool:
    if not isinstance(message, dict) or not isinstance(message.get("sender"), str):
        return False
    return message["sender"] in _ROLES and isinstance(message.get("text"), str)


def _parse_params(fields: Mapping[str, Any]) -> ChatParams:
    """hamlet1 forwards parameters unchecked and reports what the vendor refuses as its error."""
    given = {ours: fields[theirs] for theirs, ours in _PARAM_NAMES.items() if fields.get(theirs)}
    if fields.get("temperature") == 0:
        given["temperature"] = 0
    try:
        return ChatParams.model_validate(given)
    except ValidationError:
        raise InvalidRequest("the model refused") from None


def _encode_event(name: str, data: Any) -> bytes:
    return b"event: %s\ndata: %s\n\n" % (name.encode(), orjson.dumps(data))


def _usage_counts(usage: Usage) -> dict[str, int]:
    return {"in": usage.input_tokens or 0, "out": usage.output_tokens or 0}


def _new_response_id() -> str:
    return f"r_{secrets.token_hex(6)}"
