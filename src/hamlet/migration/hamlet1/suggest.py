"""hamlet1's related links and chips."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from pydantic import ValidationError

from hamlet.api.auth import Keyring
from hamlet.api.http import Request, Response
from hamlet.config import MAIN_SCREEN
from hamlet.core.errors import BadRequest, HamletError
from hamlet.gateway import Admission
from hamlet.gateway.admission import check_route
from hamlet.migration.hamlet1 import wire
from hamlet.suggest import Ask, Suggestions, SuggestService
from hamlet.suggest.api.request import SuggestRequest

_LANGUAGES = ("en", "ko", "ja")
_MOST_LINKS, _CHIPS = 3, 4


class Hamlet1Screen:
    """GET and POST /api/related, POST /api/chips."""

    def __init__(
        self, service: SuggestService, admission: Admission, keyring: Callable[[], Keyring]
    ) -> None:
        self._service, self._admission, self._keyring = service, admission, keyring

    async def related(self, request: Request) -> Response:
        """A bare array, and an empty one where anything goes wrong."""
        try:
            fields = request.query if request.method == "GET" else wire.fields_of(request)
            lang = fields.get("lang")
            if not fields.get("q") and lang not in _LANGUAGES:
                return wire.answered([], request.id)
            ask = replace(_ask(fields, "links"), link_limit=_MOST_LINKS)
            shown = await self._suggest(request, ask)
        except wire.NotJson as error:
            return wire.refusal(error, request.id)
        except HamletError:
            return wire.answered([], request.id)
        links = shown.links.items if shown.links else ()
        rows = [
            {"title": x.title, "href": x.url, "desc": x.snippet, "lang": lang or "en"}
            for x in links
        ]
        return wire.answered(rows, request.id)

    async def chips(self, request: Request) -> Response:
        """Labels and prompts, and how many there are."""
        try:
            ask = replace(_ask(wire.fields_of(request), "chips"), chip_limit=_CHIPS)
            shown = await self._suggest(request, ask)
        except HamletError as error:
            return wire.refusal(error, request.id)
        chips = shown.chips.items if shown.chips else ()
        rows = [{"label": chip.text, "prompt": chip.prompt} for chip in chips]
        return wire.answered({"ok": True, "chips": rows, "n": len(rows)}, request.id)

    async def _suggest(self, request: Request, ask: Ask) -> Suggestions:
        caller = wire.caller_of(self._keyring(), request.headers, MAIN_SCREEN)
        check_route(caller, MAIN_SCREEN)
        with self._admission.inside(caller):
            return await self._service.suggest(ask)


def _ask(fields: Mapping[str, Any], half: str) -> Ask:
    """hamlet1's fields as a context. What has the wrong type is as if it were not there."""
    query, lang = fields.get("q"), fields.get("lang")
    wish = {
        "context": {"query": query[:500]} if isinstance(query, str) else {},
        "locale": {"lang": lang if lang in _LANGUAGES else "en"},
        "include": [half],
    }
    try:
        return SuggestRequest.model_validate(wish).ask({}, streamed=False)
    except ValidationError:
        raise BadRequest("q: this text cannot be used") from None
