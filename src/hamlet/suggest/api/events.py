"""`POST /v1/events`: what users did, with each event of the batch accepted or rejected alone."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Annotated, Any, Literal

import orjson
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from hamlet.api.auth import Keyring
from hamlet.api.body import decode, read_fields, require_field
from hamlet.api.dispatcher import HttpEndpoint
from hamlet.api.http import Request, Response
from hamlet.api.openapi import openapi_operation
from hamlet.config import MAIN_SCREEN
from hamlet.core.errors import BadRequest, HamletError
from hamlet.gateway import Admission
from hamlet.gateway.admission import require_route_access
from hamlet.suggest.api.problem import problem_response
from hamlet.suggest.event_store import Event, EventStore
from hamlet.suggest.item_tokens import TokenSigner

_MAX_EVENTS = 100
_MAX_CLOCK_SKEW_S = 86_400.0
EventType = Literal["impression", "click", "submit", "dismiss", "hide", "feedback"]


class EventBody(BaseModel):
    """One event. `event_id` is chosen by the client and counts once; `ts` is Unix seconds."""

    model_config = ConfigDict(extra="forbid", title="EventIn")

    # The length is not in the pattern: `[\w-]{8,64}` compiles to an automaton of six megabytes.
    event_id: str = Field(pattern=r"^[\w-]+$", min_length=8, max_length=64)
    type: EventType
    token: str = Field(max_length=512)
    ts: float | None = Field(default=None, allow_inf_nan=False)
    value: Annotated[str, Field(max_length=64)] | None = None
    dwell_ms: int | None = Field(default=None, ge=0, le=86_400_000)


class EventsEndpoint:
    """Accepts events as JSON, also as `text/plain`: a beacon sends that without a preflight."""

    def __init__(
        self,
        store: EventStore,
        signer: TokenSigner,
        admission: Admission,
        keyring: Callable[[], Keyring],
    ) -> None:
        self._store = store
        self._signer = signer
        self._admission = admission
        self._keyring = keyring

    async def __call__(self, request: Request) -> Response:
        try:
            caller = self._keyring().authenticate(request.headers)
            require_route_access(caller, MAIN_SCREEN)
            with self._admission.hold_slot(caller):
                summary = await self._store_events(_event_rows(request.body))
        except HamletError as error:
            return problem_response(error, request.id)
        return Response(202, orjson.dumps(summary), {"x-request-id": request.id})

    async def _store_events(self, rows: list[Any]) -> dict[str, Any]:
        events: list[Event] = []
        rejected: list[dict[str, Any]] = []
        for i, row in enumerate(rows):
            event = self._parse_event(row)
            if isinstance(event, str):
                rejected.append({"index": i, "code": event})
            else:
                events.append(event)
        accepted = await self._store.add(events) if events else 0
        return {
            "accepted": accepted,
            "duplicates": len(events) - accepted,
            "rejected": rejected,
        }

    def _parse_event(self, row: Any) -> Event | str:
        """The event, or the code of why it is rejected."""
        try:
            body = EventBody.model_validate(row)
        except ValidationError:
            return "invalid"
        shown = self._signer.verify(body.token)
        if shown is None:
            return "token"
        now = time.time()
        at = min(max(body.ts or now, now - _MAX_CLOCK_SKEW_S), now + _MAX_CLOCK_SKEW_S)
        return Event(body.event_id, body.type, at, shown, body.value, body.dwell_ms)


def events_endpoint(endpoint: EventsEndpoint) -> HttpEndpoint:
    """The endpoint, with its description for OpenAPI."""
    schema = {
        "type": "object",
        "required": ["events"],
        "properties": {
            "events": {
                "type": "array",
                "maxItems": _MAX_EVENTS,
                "items": EventBody.model_json_schema(),
            }
        },
    }
    example = {"events": [{"event_id": "0192f0c8-7d1e", "type": "click", "token": "c2lnbmVk"}]}
    body = {
        "required": True,
        "content": {"application/json": {"schema": schema, "example": example}},
    }
    response_schema = {
        "type": "object",
        "required": ["accepted", "duplicates", "rejected"],
        "properties": {
            "accepted": {"type": "integer"},
            "duplicates": {"type": "integer"},
            "rejected": {
                "type": "array",
                "items": {
                    "type": "object",
                    "required": ["index", "code"],
                    "properties": {"index": {"type": "integer"}, "code": {"type": "string"}},
                },
            },
        },
    }
    accepted = {
        "description": "The number of accepted events, and the rejected ones",
        "content": {"application/json": {"schema": response_schema}},
    }
    describe = openapi_operation(
        "Report what users did",
        "main screen",
        lambda: {"requestBody": body, "responses": {"202": accepted}},
    )
    return HttpEndpoint("POST", "/v1/events", endpoint, problem_response, describe)


def _event_rows(body: bytes) -> list[Any]:
    rows: list[Any] = decode(require_field(read_fields(body), "events"), list[Any], "events")
    if len(rows) > _MAX_EVENTS:
        raise BadRequest(f"events: at most {_MAX_EVENTS} at once", param="events")
    return rows
