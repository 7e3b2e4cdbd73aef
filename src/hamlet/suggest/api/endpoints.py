"""The endpoints of the main screen: both sections or one, as JSON or as a stream of revisions."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Literal, TypeVar

import orjson
from pydantic import ValidationError

from hamlet.api.auth import Keyring
from hamlet.api.dispatcher import HttpEndpoint
from hamlet.api.http import EventStream, HandlerResult, PendingStream, Request, Response
from hamlet.config import MAIN_SCREEN
from hamlet.core.errors import Busy, HamletError
from hamlet.gateway import Admission, Caller
from hamlet.gateway.admission import Priority, require_route_access
from hamlet.suggest import Suggestions, SuggestRequest, SuggestService
from hamlet.suggest.api.caching import conditional_response
from hamlet.suggest.api.description import describe_operation
from hamlet.suggest.api.problem import (
    DeadlineDisallowed,
    FallbackDisallowed,
    problem_response,
    validation_problem,
)
from hamlet.suggest.api.request import parse_body, parse_query, preferred_language
from hamlet.suggest.model import Chips, Links

_NO_STORE_HEADERS = {"cache-control": "private, no-store"}
_PING = b": ping\n\n"
SectionName = Literal["links", "chips"]
R = TypeVar("R", Response, EventStream)


@dataclass(frozen=True, slots=True)
class MainScreenContext:
    """What all endpoints of the main screen need."""

    service: SuggestService
    admission: Admission
    keyring: Callable[[], Keyring]


class SuggestEndpoint:
    """Suggests for a body or a query string: both sections, or `section` only."""

    def __init__(self, context: MainScreenContext, section: SectionName | None = None) -> None:
        self._context = context
        self._section = section

    async def post(self, request: Request) -> HandlerResult:
        """Suggest for the context in the body; as a stream if the client accepts one."""

        def read_body() -> SuggestRequest:
            body, warnings = parse_body(request.body)
            streamed = body.stream or _accepts_stream(request)
            return self._select_section(
                body.to_suggest_request(request.headers, streamed=streamed, warnings=warnings)
            )

        if _accepts_stream(request) or _requests_stream(request.body):
            return self._stream(request, read_body)

        async def respond(caller: Caller) -> Response:
            shown = await self._suggest(caller, read_body())
            return _response(shown, request, _NO_STORE_HEADERS)

        return await self._handle(request, respond)

    async def get(self, request: Request) -> HandlerResult:
        """Suggest for a query string: as a cacheable response with an ETag, or as a stream."""

        def parse_params() -> SuggestRequest:
            body = parse_query(request.query, with_text=self._section is not None)
            return self._select_section(
                body.to_suggest_request(request.headers, streamed=_accepts_stream(request))
            )

        if _accepts_stream(request):
            return self._stream(request, parse_params)

        async def respond(caller: Caller) -> Response:
            shown = await self._suggest(caller, parse_params())
            response = _response(shown, request, {})
            return conditional_response(response, _stable_content(shown), request.headers)

        return await self._handle(request, respond)

    def _select_section(self, suggest_request: SuggestRequest) -> SuggestRequest:
        if self._section is None:
            return suggest_request
        return replace(
            suggest_request,
            want_links=self._section == "links",
            want_chips=self._section == "chips",
        )

    def _caller(self, request: Request) -> Caller:
        caller = self._context.keyring().authenticate(request.headers)
        require_route_access(caller, MAIN_SCREEN)
        return caller

    async def _handle(
        self, request: Request, respond: Callable[[Caller], Awaitable[R]]
    ) -> R | Response:
        lang = preferred_language(request.headers.get("accept-language", ""))
        try:
            return await respond(self._caller(request))
        except HamletError as error:
            return problem_response(error, request.id, lang)
        except ValidationError as error:
            return validation_problem(error, request.id, lang)

    async def _suggest(self, caller: Caller, suggest_request: SuggestRequest) -> Suggestions:
        """The suggestions; without web and model if no slot is free. Raises FallbackDisallowed."""
        admission, service = self._context.admission, self._context.service
        try:
            admission.acquire_slot_nowait(caller, Priority.SCREEN)
        except Busy:
            return _require_fallback_allowed(
                await service.suggest(_local_only(suggest_request)), suggest_request
            )
        try:
            return _require_fallback_allowed(
                await service.suggest(suggest_request), suggest_request
            )
        finally:
            admission.release_slot(caller)

    def _stream(self, request: Request, parse: Callable[[], SuggestRequest]) -> HandlerResult:
        async def open_() -> Response | EventStream:
            return await self._handle(request, start_stream)

        async def start_stream(caller: Caller) -> EventStream:
            suggest_request = parse()
            try:
                self._context.admission.acquire_slot_nowait(caller, Priority.SCREEN)
            except Busy:
                return EventStream(
                    _sse_frames(self._context.service, _local_only(suggest_request)),
                    _release_nothing,
                )
            release = partial(self._release_slot, caller)
            return EventStream(_sse_frames(self._context.service, suggest_request), release)

        headers = {"x-request-id": request.id, "x-accel-buffering": "no", **_NO_STORE_HEADERS}
        return PendingStream(
            open_(), _PING, lambda r: _sse_event("problem", orjson.loads(r.body)), headers
        )

    async def _release_slot(self, caller: Caller) -> None:
        self._context.admission.release_slot(caller)


async def _release_nothing() -> None:
    """For a stream that holds no slot."""


def _accepts_stream(request: Request) -> bool:
    return "text/event-stream" in request.headers.get("accept", "")


def _requests_stream(body: bytes) -> bool:
    """Whether `stream` is true in the body, which is parsed only if it contains the word."""
    if b'"stream"' not in body:
        return False
    try:
        fields: Any = orjson.loads(body)
    except ValueError:
        return False
    return isinstance(fields, dict) and fields.get("stream") is True


def _local_only(suggest_request: SuggestRequest) -> SuggestRequest:
    return replace(
        suggest_request, allow=replace(suggest_request.allow, llm=False, web=False), overloaded=True
    )


async def _sse_frames(
    service: SuggestService, suggest_request: SuggestRequest
) -> AsyncGenerator[bytes, None]:
    """`meta`, then each section at once and again if it improves, then `done`."""
    last: Suggestions | None = None
    yield b"retry: 2000\n\n"
    async for shown in service.revisions(suggest_request):
        frames = b""
        if last is None:
            meta = {"id": shown.id, "lang": shown.lang, "surface": shown.surface}
            frames += _sse_event("meta", {**meta, "budget_ms": suggest_request.budget_ms})
        for section in ("links", "chips"):
            new, old = getattr(shown, section), last and getattr(last, section)
            if new is not None and new != old:
                frames += _sse_event(section, _section_payload(new, 0 if last is None else 1))
        last = shown
        yield frames
    assert last is not None, "there is always one revision"
    done_fields = ("timing", "degraded", "degradations", "cache", "warnings")
    end = {name: getattr(last, name) for name in done_fields}
    yield _sse_event("done", end)


def _section_payload(section: Links | Chips, rev: int) -> dict[str, Any]:
    return {"rev": rev, "status": section.status, "tier": section.tier, "items": section.items}


def _sse_event(name: str, data: Any) -> bytes:
    return b"event: %s\ndata: %s\n\n" % (name.encode(), orjson.dumps(data))


def _response(shown: Suggestions, request: Request, headers: Mapping[str, str]) -> Response:
    timing, cache = shown.timing, shown.cache
    own_headers = {
        "x-request-id": request.id,
        "server-timing": (
            f"links;dur={timing.links_ms}, chips;dur={timing.chips_ms}, "
            f"cache;desc=links={cache.links.status}+chips={cache.chips.status}"
        ),
        "content-language": shown.lang,
    }
    return Response(200, orjson.dumps(shown), {**headers, **own_headers})


def _require_fallback_allowed(shown: Suggestions, suggest_request: SuggestRequest) -> Suggestions:
    """The suggestions. Raises FallbackDisallowed if there are none and that is not allowed."""
    sections = [each for each in (shown.links, shown.chips) if each is not None]
    if suggest_request.allow.embedded or any(each.items for each in sections):
        return shown
    late = any(degradation.reason == "deadline" for degradation in shown.degradations)
    error_type = DeadlineDisallowed if late else FallbackDisallowed
    raise error_type("nothing better came, and allow.embedded is false")


def _stable_content(shown: Suggestions) -> bytes:
    """The part of a response that is the same each time: not its id, tokens and timing."""
    sections = (shown.links, shown.chips)
    items = [[replace(i, token="") for i in each.items] if each else None for each in sections]
    return orjson.dumps((shown.lang, shown.surface, items))


def main_screen_endpoints(
    service: SuggestService, admission: Admission, keyring: Callable[[], Keyring]
) -> list[HttpEndpoint]:
    """The endpoints of the main screen, with their descriptions for OpenAPI."""
    context = MainScreenContext(service, admission, keyring)
    both, links, chips = (
        SuggestEndpoint(context),
        SuggestEndpoint(context, "links"),
        SuggestEndpoint(context, "chips"),
    )
    return [
        HttpEndpoint(
            "POST",
            "/v1/suggest",
            both.post,
            problem_response,
            describe_operation("Links and chips"),
        ),
        HttpEndpoint(
            "GET",
            "/v1/main-screen",
            both.get,
            problem_response,
            describe_operation("First paint", get=True),
        ),
        HttpEndpoint(
            "POST", "/v1/links/related", links.post, problem_response, describe_operation("Links")
        ),
        HttpEndpoint(
            "GET",
            "/v1/links/related",
            links.get,
            problem_response,
            describe_operation("Links", q=True),
        ),
        HttpEndpoint(
            "POST", "/v1/chips", chips.post, problem_response, describe_operation("Chips")
        ),
        HttpEndpoint(
            "GET", "/v1/chips", chips.get, problem_response, describe_operation("Chips", q=True)
        ),
    ]
