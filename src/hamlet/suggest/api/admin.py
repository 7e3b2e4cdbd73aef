"""What operators may do with the main screen at run time: beneath `/v1/admin`."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Annotated, Any, Literal

import msgspec
from fastapi import APIRouter, Query, Request
from fastapi.responses import JSONResponse

from hamlet.core.errors import BadRequest, TooLarge
from hamlet.suggest import ContentEditor, EventStore, SuggestService, WebSearch
from hamlet.suggest.content import PackError, PackKind, Pin

_MOST_BYTES = 8 << 20
_pins = msgspec.json.Decoder(list[Pin])


@dataclass(frozen=True, slots=True)
class SuggestAdminContext:
    """What administration of the main screen acts upon."""

    events: EventStore
    editor: ContentEditor
    suggestions: SuggestService
    web: WebSearch


def suggest_admin(context: SuggestAdminContext) -> APIRouter:
    """The routes, for the router of `/v1/admin` to include."""
    router = APIRouter()
    _operations(router, context)
    _content(router, context)
    return router


def _operations(router: APIRouter, context: SuggestAdminContext) -> None:
    @router.get("/suggestions/ctr", summary="Click-through by part, tier and position")
    async def click_through() -> JSONResponse:
        rates = await context.events.click_rates()
        return JSONResponse([{**asdict(rate), "ctr": rate.ctr} for rate in rates])

    @router.get("/sources", summary="Web sources: left alone or not, and their quota")
    async def sources() -> JSONResponse:
        return JSONResponse(context.web.status())

    @router.post("/cache/purge", summary="Forget what web and models gave")
    async def purge() -> JSONResponse:
        await context.suggestions.purge()
        return JSONResponse({"status": "ok"})


def _content(router: APIRouter, context: SuggestAdminContext) -> None:
    @router.get("/catalogue", summary="How much there is to show")
    async def stats() -> JSONResponse:
        content = context.editor.content
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
            taken = await context.editor.add_rows(kind, text, form, license_, source)
        except PackError as error:
            raise BadRequest(str(error)) from None
        bad = [asdict(row) for row in taken.rejected]
        status = 200 if taken.accepted else 422
        return JSONResponse({"accepted": len(taken.accepted), "rejected": bad}, status)

    @router.get("/pins", summary="What is put first")
    async def pinned() -> JSONResponse:
        return JSONResponse(msgspec.to_builtins(context.editor.content.pins))

    @router.put("/pins", summary="Put rows first, instead of those before")
    async def pin(request: Request) -> JSONResponse:
        try:
            pins = _pins.decode(await _text(request))
        except msgspec.MsgspecError as error:
            raise BadRequest(f"pins: {error}") from None
        if unknown := _unknown(pins, context.editor):
            raise BadRequest(f"pins: there is no row {unknown!r}")
        await context.editor.set_pins(pins)
        return JSONResponse({"pins": len(pins)})


def _unknown(pins: list[Pin], editor: ContentEditor) -> str | None:
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
