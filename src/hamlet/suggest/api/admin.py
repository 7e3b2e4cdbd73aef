"""Administration of the main screen at run time, under `/v1/admin`."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Annotated, Any, Literal

import msgspec
from fastapi import APIRouter, Query, Request
from fastapi.responses import JSONResponse

from hamlet.core.errors import BadRequest, TooLarge
from hamlet.suggest import ContentEditor, EventStore, SuggestService, WebSearch
from hamlet.suggest.content import PackError, PackKind, Pin

_MAX_BODY_BYTES = 8 << 20
_pins_decoder = msgspec.json.Decoder(list[Pin])


@dataclass(frozen=True, slots=True)
class SuggestAdminContext:
    """What the administration of the main screen acts on."""

    events: EventStore
    editor: ContentEditor
    suggestions: SuggestService
    web: WebSearch


def suggest_admin(context: SuggestAdminContext) -> APIRouter:
    """The endpoints, for the router of `/v1/admin` to include."""
    router = APIRouter()
    _add_operations(router, context)
    _add_catalogue(router, context)
    _add_pins(router, context)
    return router


# OpenAPI makes the operation ids of the functions' names, and clients their methods.
def _add_operations(router: APIRouter, context: SuggestAdminContext) -> None:
    @router.get("/suggestions/ctr", summary="Click-through by part, tier and position")
    async def click_through() -> JSONResponse:
        rates = await context.events.click_rates()
        return JSONResponse([{**asdict(rate), "ctr": rate.ctr} for rate in rates])

    @router.get("/sources", summary="Web sources: circuit breakers and quotas")
    async def sources() -> JSONResponse:
        return JSONResponse(context.web.status())

    @router.post("/cache/purge", summary="Empty the caches of web results and generated chips")
    async def purge() -> JSONResponse:
        await context.suggestions.purge()
        return JSONResponse({"status": "ok"})


def _add_catalogue(router: APIRouter, context: SuggestAdminContext) -> None:
    @router.get("/catalogue", summary="Number of links and chips, and their packs")
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
        file_format: Annotated[Literal["jsonl", "csv", "opml"], Query(alias="format")] = "jsonl",
    ) -> JSONResponse:
        text = await _read_text(request)
        try:
            result = await context.editor.add_rows(kind, text, file_format, license_, source)
        except PackError as error:
            raise BadRequest(str(error)) from None
        rejected = [asdict(row) for row in result.rejected]
        status = 200 if result.accepted else 422
        return JSONResponse({"accepted": len(result.accepted), "rejected": rejected}, status)


def _add_pins(router: APIRouter, context: SuggestAdminContext) -> None:
    @router.get("/pins", summary="The pins: rows that are shown first")
    async def pinned() -> JSONResponse:
        return JSONResponse(msgspec.to_builtins(context.editor.content.pins))

    @router.put("/pins", summary="Replace the pins")
    async def pin(request: Request) -> JSONResponse:
        try:
            pins = _pins_decoder.decode(await _read_text(request))
        except msgspec.MsgspecError as error:
            raise BadRequest(f"pins: {error}") from None
        if unknown := _find_unknown_key(pins, context.editor):
            raise BadRequest(f"pins: there is no row {unknown!r}")
        await context.editor.set_pins(pins)
        return JSONResponse({"pins": len(pins)})


def _find_unknown_key(pins: list[Pin], editor: ContentEditor) -> str | None:
    """The first key of the pins that no row has."""
    links = {row.key for row in editor.content.links}
    chips = {row.key for row in editor.content.chips}
    named: list[tuple[str, Any]] = [(key, links) for pin in pins for key in pin.links]
    named += [(key, chips) for pin in pins for key in pin.chips]
    return next((key for key, known in named if key not in known), None)


async def _read_text(request: Request) -> str:
    """The body as text. Raises TooLarge or BadRequest."""
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > _MAX_BODY_BYTES:
            raise TooLarge(f"the body is over {_MAX_BODY_BYTES} bytes")
    try:
        return body.decode()
    except UnicodeDecodeError:
        raise BadRequest("the body is not UTF-8") from None
