"""`POST /v1/suggest` and `GET /v1/main-screen`."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import orjson
from pydantic import TypeAdapter, ValidationError

from hamlet.api.auth import Keyring
from hamlet.api.body import read_fields
from hamlet.api.hot import HotRoute
from hamlet.api.http import Request, Response
from hamlet.api.main_screen.problem import invalid, problem
from hamlet.api.main_screen.request import SuggestRequest
from hamlet.api.openapi import operation
from hamlet.config import MAIN_SCREEN
from hamlet.core.errors import BadRequest, HamletError
from hamlet.gateway import Admission
from hamlet.gateway.admission import check_route
from hamlet.suggest import Suggestions, SuggestService

_PRIVATE = "private, no-store"
_PUBLIC = "public, max-age=30, stale-while-revalidate=300, stale-if-error=86400"


class MainScreen:
    """Serves suggestions."""

    def __init__(
        self, service: SuggestService, admission: Admission, keyring: Callable[[], Keyring]
    ) -> None:
        self._service = service
        self._admission = admission
        self._keyring = keyring

    async def suggest(self, request: Request) -> Response:
        """For a context in the body."""

        async def answer() -> Response:
            read_fields(request.body)
            wish = SuggestRequest.model_validate_json(request.body)
            shown = await self._service.suggest(wish.ask(request.headers))
            return _response(shown, request, {"cache-control": _PRIVATE})

        return await self._admitted(request, answer)

    async def main_screen(self, request: Request) -> Response:
        """For somebody who has said nothing yet."""

        async def answer() -> Response:
            wish = _first_paint(request.query)
            shown = await self._service.suggest(wish.ask(request.headers))
            cached = {"cache-control": _PUBLIC, "vary": "accept-language, accept"}
            return _response(shown, request, cached)

        return await self._admitted(request, answer)

    async def _admitted(
        self, request: Request, answer: Callable[[], Awaitable[Response]]
    ) -> Response:
        try:
            caller = self._keyring().caller(request.headers)
            check_route(caller, MAIN_SCREEN)
            with self._admission.inside(caller):
                return await answer()
        except HamletError as error:
            return problem(error, request.id)
        except ValidationError as error:
            return invalid(error, request.id)


def main_screen_routes(
    service: SuggestService, admission: Admission, keyring: Callable[[], Keyring]
) -> list[HotRoute]:
    """The routes of the main screen, described for OpenAPI."""
    screen = MainScreen(service, admission, keyring)
    body = {"content": {"application/json": {"schema": SuggestRequest.model_json_schema()}}}
    answers = {"200": {"description": "Suggestions", "content": _schema(Suggestions)}}
    post = operation(
        "Links and chips for a context", "main screen", requestBody=body, responses=answers
    )
    get = operation("Links and chips for first paint", "main screen", responses=answers)
    return [
        HotRoute("POST", "/v1/suggest", screen.suggest, problem, post),
        HotRoute("GET", "/v1/main-screen", screen.main_screen, problem, get),
    ]


def _first_paint(query: Mapping[str, str]) -> SuggestRequest:
    known = {"lang": ("locale", "lang"), "tz": ("locale", "tz"), "surface": ("context", "surface")}
    if strangers := sorted(query.keys() - known.keys()):
        raise BadRequest(f"unknown parameter: {strangers[0][:64]}")
    fields: dict[str, dict[str, Any]] = {}
    for name, value in query.items():
        section, field = known[name]
        fields.setdefault(section, {})[field] = value
    return SuggestRequest.model_validate(fields)


def _response(shown: Suggestions, request: Request, headers: dict[str, str]) -> Response:
    timing = shown.timing
    measured = f"links;dur={timing.links_ms}, chips;dur={timing.chips_ms}"
    told = {"x-request-id": request.id, "server-timing": measured, "content-language": shown.lang}
    return Response(200, orjson.dumps(shown), headers | told)


def _schema(kind: Any) -> dict[str, Any]:
    return {"application/json": {"schema": TypeAdapter(kind).json_schema()}}
