"""The main screen's endpoints: suggestions as JSON or as they improve, whole or one half."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Literal, TypeVar

import orjson
from pydantic import ValidationError

from hamlet.api.auth import Keyring
from hamlet.api.dispatcher import HotRoute
from hamlet.api.http import EventStream, Opening, Reply, Request, Response
from hamlet.config import MAIN_SCREEN
from hamlet.core.errors import Busy, HamletError
from hamlet.gateway import Admission, Caller
from hamlet.gateway.admission import Importance, check_route
from hamlet.suggest import Ask, Suggestions, SuggestService
from hamlet.suggest.api.caching import conditional
from hamlet.suggest.api.description import described
from hamlet.suggest.api.problem import (
    DeadlineDisallowed,
    FallbackDisallowed,
    invalid,
    problem,
)
from hamlet.suggest.api.request import from_query, preferred, read_request
from hamlet.suggest.model import Chips, Links

_PRIVATE = {"cache-control": "private, no-store"}
_PING = b": ping\n\n"
Half = Literal["links", "chips"]
R = TypeVar("R", Response, EventStream)


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
        """Suggest for the context in the body; as a stream if the caller wants one."""

        def read() -> Ask:
            wish, warnings = read_request(request.body)
            streamed = wish.stream or _accepts_stream(request)
            return self._one_half(wish.ask(request.headers, streamed=streamed, warnings=warnings))

        if _accepts_stream(request) or _asks_for_stream(request.body):
            return self._stream(request, read)

        async def answer(caller: Caller) -> Response:
            shown = await self._suggest(caller, read())
            return _response(shown, request, _PRIVATE)

        return await self._known(request, answer)

    async def get(self, request: Request) -> Reply:
        """Suggest for a query string: cacheable, with an ETag; or as a stream."""

        def read() -> Ask:
            wish = from_query(request.query, with_text=self._half is not None)
            return self._one_half(wish.ask(request.headers, streamed=_accepts_stream(request)))

        if _accepts_stream(request):
            return self._stream(request, read)

        async def answer(caller: Caller) -> Response:
            shown = await self._suggest(caller, read())
            made = _response(shown, request, {})
            return conditional(made, _lasting(shown), request.headers)

        return await self._known(request, answer)

    def _one_half(self, ask: Ask) -> Ask:
        if self._half is None:
            return ask
        return replace(ask, want_links=self._half == "links", want_chips=self._half == "chips")

    def _caller(self, request: Request) -> Caller:
        caller = self._screen.keyring().caller(request.headers)
        check_route(caller, MAIN_SCREEN)
        return caller

    async def _known(
        self, request: Request, answer: Callable[[Caller], Awaitable[R]]
    ) -> R | Response:
        tongue = preferred(request.headers.get("accept-language", ""))
        try:
            return await answer(self._caller(request))
        except HamletError as error:
            return problem(error, request.id, tongue)
        except ValidationError as error:
            return invalid(error, request.id, tongue)

    async def _suggest(self, caller: Caller, ask: Ask) -> Suggestions:
        """The suggestions; where hamlet is full, those that cost next to nothing."""
        admission, service = self._screen.admission, self._screen.service
        try:
            admission.admit(caller, Importance.SCREEN)
        except Busy:
            return _not_withheld(await service.suggest(_in_hand_only(ask)), ask)
        try:
            return _not_withheld(await service.suggest(ask), ask)
        finally:
            admission.leave(caller)

    def _stream(self, request: Request, read: Callable[[], Ask]) -> Reply:
        async def open_() -> Response | EventStream:
            return await self._known(request, begin)

        async def begin(caller: Caller) -> EventStream:
            ask = read()
            try:
                self._screen.admission.admit(caller, Importance.SCREEN)
            except Busy:
                return EventStream(_frames(self._screen.service, _in_hand_only(ask)), _nothing)
            leave = partial(self._leave, caller)
            return EventStream(_frames(self._screen.service, ask), leave)

        headers = {"x-request-id": request.id, "x-accel-buffering": "no", **_PRIVATE}
        return Opening(open_(), _PING, lambda r: _event("problem", orjson.loads(r.body)), headers)

    async def _leave(self, caller: Caller) -> None:
        self._screen.admission.leave(caller)


async def _nothing() -> None:
    """There is no place to leave."""


def _accepts_stream(request: Request) -> bool:
    return "text/event-stream" in request.headers.get("accept", "")


def _asks_for_stream(body: bytes) -> bool:
    """Whether the body says so; looked at only where the word is in it."""
    if b'"stream"' not in body:
        return False
    try:
        wish: Any = orjson.loads(body)
    except ValueError:
        return False
    return isinstance(wish, dict) and wish.get("stream") is True


def _in_hand_only(ask: Ask) -> Ask:
    return replace(ask, allow=replace(ask.allow, llm=False, web=False), overloaded=True)


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
    told = ("timing", "degraded", "degradations", "cache", "warnings")
    end = {name: getattr(last, name) for name in told}
    yield _event("done", end)


def _revision(half: Links | Chips, rev: int) -> dict[str, Any]:
    return {"rev": rev, "status": half.status, "tier": half.tier, "items": half.items}


def _event(name: str, data: Any) -> bytes:
    return b"event: %s\ndata: %s\n\n" % (name.encode(), orjson.dumps(data))


def _response(shown: Suggestions, request: Request, headers: Mapping[str, str]) -> Response:
    timing, cache = shown.timing, shown.cache
    told = {
        "x-request-id": request.id,
        "server-timing": (
            f"links;dur={timing.links_ms}, chips;dur={timing.chips_ms}, "
            f"cache;desc=links={cache.links.status}+chips={cache.chips.status}"
        ),
        "content-language": shown.lang,
    }
    return Response(200, orjson.dumps(shown), {**headers, **told})


def _not_withheld(shown: Suggestions, ask: Ask) -> Suggestions:
    """The suggestions. Raises FallbackDisallowed if the caller's own limits left none."""
    halves = [half for half in (shown.links, shown.chips) if half is not None]
    if ask.allow.embedded or any(half.items for half in halves):
        return shown
    late = any(degradation.reason == "deadline" for degradation in shown.degradations)
    family = DeadlineDisallowed if late else FallbackDisallowed
    raise family("nothing better came, and allow.embedded is false")


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
    return [
        HotRoute("POST", "/v1/suggest", both.post, problem, described("Links and chips")),
        HotRoute("GET", "/v1/main-screen", both.get, problem, described("First paint", get=True)),
        HotRoute("POST", "/v1/links/related", links.post, problem, described("Links")),
        HotRoute("GET", "/v1/links/related", links.get, problem, described("Links", q=True)),
        HotRoute("POST", "/v1/chips", chips.post, problem, described("Chips")),
        HotRoute("GET", "/v1/chips", chips.get, problem, described("Chips", q=True)),
    ]
