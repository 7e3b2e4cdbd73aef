"""`POST /v1/events`: a batch of what users did, each event accepted or refused by itself."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Annotated, Any, Literal

import orjson
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from hamlet.api.auth import Keyring
from hamlet.api.body import decode, needed, read_fields
from hamlet.api.dispatcher import HotRoute
from hamlet.api.http import Request, Response
from hamlet.api.openapi import operation
from hamlet.config import MAIN_SCREEN
from hamlet.core.errors import BadRequest, HamletError
from hamlet.gateway import Admission
from hamlet.gateway.admission import check_route
from hamlet.suggest.api.problem import problem
from hamlet.suggest.events import Event, EventStore
from hamlet.suggest.tokens import Signer

_MOST = 100
_DAY_S = 86_400.0
Kind = Literal["impression", "click", "submit", "dismiss", "hide", "feedback"]


class EventIn(BaseModel):
    """One event. `event_id` is the client's own and counts once; `ts` is Unix seconds."""

    model_config = ConfigDict(extra="forbid")

    # With its length apart: `\w` repeated by a counted `{8,64}` compiles to six megabytes.
    event_id: str = Field(pattern=r"^[\w-]+$", min_length=8, max_length=64)
    type: Kind
    token: str = Field(max_length=512)
    ts: float | None = Field(default=None, allow_inf_nan=False)
    value: Annotated[str, Field(max_length=64)] | None = None
    dwell_ms: int | None = Field(default=None, ge=0, le=86_400_000)


class EventsEndpoint:
    """Takes events as JSON, also under `text/plain`, which a beacon may send unasked."""

    def __init__(
        self,
        store: EventStore,
        signer: Signer,
        admission: Admission,
        keyring: Callable[[], Keyring],
    ) -> None:
        self._store = store
        self._signer = signer
        self._admission = admission
        self._keyring = keyring

    async def __call__(self, request: Request) -> Response:
        try:
            caller = self._keyring().caller(request.headers)
            check_route(caller, MAIN_SCREEN)
            with self._admission.inside(caller):
                told = await self._take(_rows(request.body))
        except HamletError as error:
            return problem(error, request.id)
        return Response(202, orjson.dumps(told), {"x-request-id": request.id})

    async def _take(self, rows: list[Any]) -> dict[str, Any]:
        events: list[Event] = []
        rejected: list[dict[str, Any]] = []
        for i, row in enumerate(rows):
            made = self._event(row)
            if isinstance(made, str):
                rejected.append({"index": i, "code": made})
            else:
                events.append(made)
        accepted = await self._store.add(events) if events else 0
        return {
            "accepted": accepted,
            "duplicates": len(events) - accepted,
            "rejected": rejected,
        }

    def _event(self, row: Any) -> Event | str:
        """The event, or why it is refused."""
        try:
            given = EventIn.model_validate(row)
        except ValidationError:
            return "invalid"
        shown = self._signer.read(given.token)
        if shown is None:
            return "token"
        now = time.time()
        at = min(max(given.ts or now, now - _DAY_S), now + _DAY_S)
        return Event(given.event_id, given.type, at, shown, given.value, given.dwell_ms)


def events_route(endpoint: EventsEndpoint) -> HotRoute:
    """The route, described for OpenAPI."""
    schema = {
        "type": "object",
        "required": ["events"],
        "properties": {
            "events": {"type": "array", "maxItems": _MOST, "items": EventIn.model_json_schema()}
        },
    }
    example = {"events": [{"event_id": "0192f0c8-7d1e", "type": "click", "token": "c2lnbmVk"}]}
    body = {
        "required": True,
        "content": {"application/json": {"schema": schema, "example": example}},
    }
    told = {
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
    taken = {"description": "What came of each", "content": {"application/json": {"schema": told}}}
    said = operation(
        "Report what users did",
        "main screen",
        lambda: {"requestBody": body, "responses": {"202": taken}},
    )
    return HotRoute("POST", "/v1/events", endpoint, problem, said)


def _rows(body: bytes) -> list[Any]:
    rows: list[Any] = decode(needed(read_fields(body), "events"), list[Any], "events")
    if len(rows) > _MOST:
        raise BadRequest(f"events: at most {_MOST} at once", param="events")
    return rows
