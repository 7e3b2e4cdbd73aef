"""What operators may do at run time. Needs an admin key, or loopback if there are no keys."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Annotated, Any, Literal

import msgspec
from fastapi import APIRouter, Depends, Query, Request
from fastapi.responses import JSONResponse

from hamlet.api.auth import Keyring
from hamlet.config import ConfigError
from hamlet.content import PackError, PackKind, Pin
from hamlet.core.errors import BadRequest, Forbidden, RouteNotFound, TooLarge
from hamlet.fleet import Demand, Fleet, explain
from hamlet.registry import Route
from hamlet.suggest import Editor, EventStore, SuggestService, WebSearch

_LOOPBACK = ("127.0.0.1", "::1")
_MOST_BYTES = 8 << 20
_pins = msgspec.json.Decoder(list[Pin])


@dataclass(frozen=True, slots=True)
class Desk:
    """What administration acts upon."""

    keyring: Callable[[], Keyring]
    reload: Callable[[], Awaitable[None]]
    events: EventStore
    editor: Editor
    suggestions: SuggestService
    web: WebSearch
    fleet: Fleet
    routes: Callable[[], Mapping[str, Route]]


def admin(desk: Desk, *more: APIRouter) -> APIRouter:
    """The routes under `/v1/admin`, and what others add to them."""

    def needed(request: Request) -> None:
        keyring = desk.keyring()
        caller = keyring.caller(request.headers)
        near = request.client is not None and request.client.host in _LOOPBACK
        if not (caller.admin or (keyring.is_empty and near)):
            raise Forbidden("an admin key is needed")

    router = APIRouter(tags=["administration"], prefix="/v1/admin", dependencies=[Depends(needed)])
    _operations(router, desk)
    _fleet(router, desk)
    _content(router, desk)
    for other in more:
        router.include_router(other)
    return router


def _operations(router: APIRouter, desk: Desk) -> None:
    @router.post("/reload", summary="Read the configuration and the packs again")
    async def reload_config() -> JSONResponse:
        try:
            await desk.reload()
        except ConfigError as error:
            problems = [
                {"path": p.path, "line": p.line, "message": p.message} for p in error.problems
            ]
            return JSONResponse({"status": "refused", "problems": problems}, 422)
        return JSONResponse({"status": "ok"})

    @router.get("/suggestions/ctr", summary="Click-through by part, tier and position")
    async def click_through() -> JSONResponse:
        rates = await desk.events.rates()
        return JSONResponse([{**asdict(rate), "ctr": rate.ctr} for rate in rates])

    @router.get("/sources", summary="Web sources: left alone or not, and their quota")
    async def sources() -> JSONResponse:
        return JSONResponse(desk.web.status())

    @router.post("/cache/purge", summary="Forget what web and models gave")
    async def purge() -> JSONResponse:
        await desk.suggestions.purge()
        return JSONResponse({"status": "ok"})


def _fleet(router: APIRouter, desk: Desk) -> None:
    @router.get("/fleet", summary="The plan of a call to each chat route now, and why")
    async def plans(
        route: str | None = None,
        input_tokens: Annotated[int, Query(ge=0, le=10_000_000)] = 1000,
        output_tokens: Annotated[int, Query(ge=0, le=1_000_000)] = 300,
        stream: bool = True,
    ) -> JSONResponse:
        routes = {n: r for n, r in desk.routes().items() if r.operation == "chat"}
        if route is not None and route not in routes:
            raise RouteNotFound(f"no such chat route: {route}", param="route")
        told = {
            name: [asdict(row) for row in explain(desk.fleet, found, demand)]
            for name, found in routes.items()
            if route in (None, name)
            for demand in [
                Demand(input_tokens, output_tokens, output_tokens, stream, found.sheddable)
            ]
        }
        return JSONResponse(told)


def _content(router: APIRouter, desk: Desk) -> None:
    @router.get("/catalogue", summary="How much there is to show")
    async def stats() -> JSONResponse:
        content = desk.editor.content
        packs = [msgspec.to_builtins(pack) for pack in content.packs]
        counts = {"links": len(content.links), "chips": len(content.chips)}
        return JSONResponse({**counts, "quarantined": content.quarantined, "packs": packs})

    @router.post("/catalogue/{kind}", summary="Add links or chips; the body is a file of rows")
    async def add(
        request: Request,
        kind: PackKind,
        license_: Annotated[str, Query(alias="license", min_length=1)],
        source: str = "admin",
        form: Annotated[Literal["jsonl", "csv", "opml"], Query(alias="format")] = "jsonl",
    ) -> JSONResponse:
        text = await _text(request)
        try:
            taken = await desk.editor.add(kind, text, form, license_, source)
        except PackError as error:
            raise BadRequest(str(error)) from None
        bad = [asdict(row) for row in taken.bad]
        status = 200 if taken.good else 422
        return JSONResponse({"accepted": len(taken.good), "rejected": bad}, status)

    @router.get("/pins", summary="What is put first")
    async def pinned() -> JSONResponse:
        return JSONResponse(msgspec.to_builtins(desk.editor.content.pins))

    @router.put("/pins", summary="Put rows first, instead of those before")
    async def pin(request: Request) -> JSONResponse:
        try:
            pins = _pins.decode(await _text(request))
        except msgspec.MsgspecError as error:
            raise BadRequest(f"pins: {error}") from None
        if unknown := _unknown(pins, desk.editor):
            raise BadRequest(f"pins: there is no row {unknown!r}")
        await desk.editor.pin(pins)
        return JSONResponse({"pins": len(pins)})


def _unknown(pins: list[Pin], editor: Editor) -> str | None:
    links = {row.key for row in editor.content.links}
    chips = {row.key for row in editor.content.chips}
    named: list[tuple[str, Any]] = [(key, links) for pin in pins for key in pin.links]
    named += [(key, chips) for pin in pins for key in pin.chips]
    return next((key for key, known in named if key not in known), None)


async def _text(request: Request) -> str:
    body = bytearray()
    async for piece in request.stream():
        body += piece
        if len(body) > _MOST_BYTES:
            raise TooLarge(f"the body is over {_MOST_BYTES} bytes")
    try:
        return body.decode()
    except UnicodeDecodeError:
        raise BadRequest("the body is not UTF-8") from None
