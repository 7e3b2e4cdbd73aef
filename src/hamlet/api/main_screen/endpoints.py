"""The main screen's endpoints: suggestions as JSON or as they improve, whole or one half."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

import orjson
from pydantic import TypeAdapter, ValidationError

from hamlet.api.auth import Keyring
from hamlet.api.body import read_fields
from hamlet.api.hot import HotRoute
from hamlet.api.http import EventStream, Opening, Reply, Request, Response
from hamlet.api.main_screen.caching import conditional
from hamlet.api.main_screen.problem import invalid, problem
from hamlet.api.main_screen.request import SuggestRequest, from_query
from hamlet.api.openapi import operation
from hamlet.config import MAIN_SCREEN
from hamlet.core.errors import HamletError
from hamlet.gateway import Admission
from hamlet.gateway.admission import check_route
from hamlet.suggest import Ask, Suggestions, SuggestService
from hamlet.suggest.model import Chips, Links

_PRIVATE = {"cache-control": "private, no-store"}
_PING = b": ping\n\n"
Half = Literal["links", "chips"]


@dataclass(frozen=True, slots=True)
class MainScreen:
    """What all of its endpoints need."""

    service: SuggestService
    admission: Admission
    keyring: Callable[[], Keyring]


class Endpoint:
    """One way to ask: from a body or a query, both halves or `half` alone."""

    def __init__(self, screen: MainScreen, half: Half | None = None) -> None:
        self._screen = screen
        self._half = half

    async def post(self, request: Request) -> Reply:
        """Suggest for the context in the body; as a stream if the caller accepts one."""

        def ask() -> Ask:
            read_fields(request.body)
            wish = SuggestRequest.model_validate_json(request.body)
            return self._one_half(wish.ask(request.headers))

        if "text/event-stream" in request.headers.get("accept", ""):
            return await self._stream(request, ask)

        async def answer() -> Response:
            shown = await self._screen.service.suggest(ask())
            return _response(shown, self._half, request, _PRIVATE)

        return await self._admitted(request, answer)

    async def get(self, request: Request) -> Reply:
        """Suggest for a query string: cacheable, with an ETag."""

        async def answer() -> Response:
            wish = from_query(request.query, with_text=self._half is not None)
            shown = await self._screen.service.suggest(self._one_half(wish.ask(request.headers)))
            made = _response(shown, self._half, request, {})
            return conditional(made, _lasting(shown), request.headers)

        return await self._admitted(request, answer)

    def _one_half(self, ask: Ask) -> Ask:
        if self._half is None:
            return ask
        return replace(ask, want_links=self._half == "links", want_chips=self._half == "chips")

    async def _admitted(
        self, request: Request, answer: Callable[[], Awaitable[Response]]
    ) -> Response:
        try:
            caller = self._screen.keyring().caller(request.headers)
            check_route(caller, MAIN_SCREEN)
            with self._screen.admission.inside(caller):
                return await answer()
        except HamletError as error:
            return problem(error, request.id)
        except ValidationError as error:
            return invalid(error, request.id)

    async def _stream(self, request: Request, ask: Callable[[], Ask]) -> Reply:
        async def open_() -> Response | EventStream:
            try:
                caller = self._screen.keyring().caller(request.headers)
                check_route(caller, MAIN_SCREEN)
                wanted = ask()
                self._screen.admission.admit(caller)
            except HamletError as error:
                return problem(error, request.id)
            except ValidationError as error:
                return invalid(error, request.id)
            return EventStream(_frames(self._screen.service, wanted), self._leave)

        headers = {"x-request-id": request.id, **_PRIVATE}
        return Opening(open_(), _PING, lambda r: _event("problem", orjson.loads(r.body)), headers)

    async def _leave(self) -> None:
        self._screen.admission.leave()


async def _frames(service: SuggestService, ask: Ask) -> AsyncGenerator[bytes, None]:
    """meta, then each half as it is and as it becomes better, then done."""
    last: Suggestions | None = None
    yield b"retry: 2000\n\n"
    async for shown in service.revisions(ask):
        frames = b""
        if last is None:
            meta = {"id": shown.id, "lang": shown.lang, "surface": shown.surface}
            frames += _event("meta", {**meta, "budget_ms": ask.budget_ms})
        for half in ("links", "chips"):
            new, old = getattr(shown, half), last and getattr(last, half)
            if new is not None and new != old:
                frames += _event(half, _revision(new, 0 if last is None else 1))
        last = shown
        yield frames
    assert last is not None, "there is always an answer in hand"
    end = {"timing": last.timing, "degraded": last.degraded, "degradations": last.degradations}
    yield _event("done", end)


def _revision(half: Links | Chips, rev: int) -> dict[str, Any]:
    return {"rev": rev, "status": half.status, "tier": half.tier, "items": half.items}


def _event(name: str, data: Any) -> bytes:
    return b"event: %s\ndata: %s\n\n" % (name.encode(), orjson.dumps(data))


def _response(
    shown: Suggestions, half: Half | None, request: Request, headers: Mapping[str, str]
) -> Response:
    timing = shown.timing
    told = {
        "x-request-id": request.id,
        "server-timing": f"links;dur={timing.links_ms}, chips;dur={timing.chips_ms}",
        "content-language": shown.lang,
    }
    if half is None:
        return Response(200, orjson.dumps(shown), {**headers, **told})
    body = {name: getattr(shown, name) for name in ("id", "created", "lang", half, "timing")}
    return Response(200, orjson.dumps(body), {**headers, **told})


def _lasting(shown: Suggestions) -> bytes:
    """What does not change from one asking to the next."""
    halves = (shown.links, shown.chips)
    items = [[replace(i, token="") for i in half.items] if half else None for half in halves]
    return orjson.dumps((shown.lang, shown.surface, items))


def main_screen_routes(
    service: SuggestService, admission: Admission, keyring: Callable[[], Keyring]
) -> list[HotRoute]:
    """The routes of the main screen, described for OpenAPI."""
    screen = MainScreen(service, admission, keyring)
    both, links, chips = Endpoint(screen), Endpoint(screen, "links"), Endpoint(screen, "chips")
    body = {"content": {"application/json": {"schema": SuggestRequest.model_json_schema()}}}
    schema = {"application/json": {"schema": TypeAdapter(Suggestions).json_schema()}}
    answers = {"200": {"description": "Suggestions", "content": schema}}

    def said(summary: str, **more: Any) -> Mapping[str, Any]:
        return operation(summary, "main screen", responses=answers, **more)

    return [
        HotRoute(
            "POST", "/v1/suggest", both.post, problem, said("Links and chips", requestBody=body)
        ),
        HotRoute("GET", "/v1/main-screen", both.get, problem, said("First paint")),
        HotRoute("POST", "/v1/links/related", links.post, problem, said("Links", requestBody=body)),
        HotRoute("GET", "/v1/links/related", links.get, problem, said("Links for a query")),
        HotRoute("POST", "/v1/chips", chips.post, problem, said("Chips", requestBody=body)),
        HotRoute("GET", "/v1/chips", chips.get, problem, said("Chips for a query")),
    ]
