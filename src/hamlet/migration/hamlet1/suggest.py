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
from hamlet.gateway.admission import require_route_access
from hamlet.migration.hamlet1 import responses as wire
from hamlet.suggest import Suggestions, SuggestRequest, SuggestService
from hamlet.suggest.api.request import SuggestBody

_LANGUAGES = ("en", "ko", "ja")
_MAX_LINKS, _MAX_CHIPS = 3, 4


class Hamlet1SuggestEndpoints:
    """GET and POST /api/related, POST /api/chips."""

    def __init__(
        self, service: SuggestService, admission: Admission, keyring: Callable[[], Keyring]
    ) -> None:
        self._service, self._admission, self._keyring = service, admission, keyring

    async def related(self, request: Request) -> Response:
        """A bare array, empty on any error but invalid JSON."""
        try:
            fields = request.query if request.method == "GET" else wire.parse_fields(request)
            lang = fields.get("lang")
            if not fields.get("q") and lang not in _LANGUAGES:
                return wire.json_response([], request.id)
            suggest_request = replace(
                _parse_suggest_request(fields, "links"), link_limit=_MAX_LINKS
            )
            suggestions = await self._suggest(request, suggest_request)
        except wire.InvalidJson as error:
            return wire.error_response(error, request.id)
        except HamletError:
            return wire.json_response([], request.id)
        links = suggestions.links.items if suggestions.links else ()
        rows = [
            {"title": x.title, "href": x.url, "desc": x.snippet, "lang": lang or "en"}
            for x in links
        ]
        return wire.json_response(rows, request.id)

    async def chips(self, request: Request) -> Response:
        """The chips' labels and prompts, and their number."""
        try:
            suggest_request = replace(
                _parse_suggest_request(wire.parse_fields(request), "chips"), chip_limit=_MAX_CHIPS
            )
            suggestions = await self._suggest(request, suggest_request)
        except HamletError as error:
            return wire.error_response(error, request.id)
        chips = suggestions.chips.items if suggestions.chips else ()
        rows = [{"label": chip.text, "prompt": chip.prompt} for chip in chips]
        return wire.json_response({"ok": True, "chips": rows, "n": len(rows)}, request.id)

    async def _suggest(self, request: Request, suggest_request: SuggestRequest) -> Suggestions:
        caller = wire.authenticate_or_default(self._keyring(), request.headers, MAIN_SCREEN)
        require_route_access(caller, MAIN_SCREEN)
        with self._admission.hold_slot(caller):
            return await self._service.suggest(suggest_request)


def _parse_suggest_request(fields: Mapping[str, Any], section: str) -> SuggestRequest:
    """Translate hamlet1's fields. Fields of the wrong type are ignored."""
    query, lang = fields.get("q"), fields.get("lang")
    payload = {
        "context": {"query": query[:500]} if isinstance(query, str) else {},
        "locale": {"lang": lang if lang in _LANGUAGES else "en"},
        "include": [section],
    }
    try:
        return SuggestBody.model_validate(payload).to_suggest_request({}, streamed=False)
    except ValidationError:
        raise BadRequest("q: this text cannot be used") from None
