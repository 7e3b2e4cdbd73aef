"""The demo page at `/`: rendered by the server, so that it works without scripts."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from string import Template
from typing import Any, Protocol

from fastapi import FastAPI, Request
from fastapi.responses import HTMLResponse, JSONResponse, Response
from fastapi.staticfiles import StaticFiles
from pydantic import BaseModel, ConfigDict

from hamlet.api.auth import Keyring
from hamlet.suggest import SuggestRequest, SuggestService
from hamlet.suggest.api.request import SuggestBody, preferred_language
from hamlet.suggest.demo import DemoFault, DemoState
from hamlet.suggest.page.rendering import LANGUAGES, render_chips, render_links, template_values

_CSP = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
    "img-src 'self' data:; base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
)
_HEADERS = {
    "content-security-policy": _CSP,
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cache-control": "no-cache",
}
_MAX_QUERY_CHARS, _BUDGET_MS = 512, 50


class PageInfo(Protocol):
    """What the page shows about the process that serves it."""

    demo_state: DemoState | None
    has_model: bool
    has_web: bool


@dataclass(frozen=True, slots=True)
class PageContext:
    """What the page needs."""

    service: SuggestService
    keyring: Callable[[], Keyring]
    info: PageInfo


class DemoFaultsBody(BaseModel):
    """The fault to inject into each part of the demonstration."""

    model_config = ConfigDict(extra="forbid")

    llm: DemoFault = "none"
    web: DemoFault = "none"


class _StaticFiles(StaticFiles):
    """The files of the page, with its security headers."""

    def file_response(self, *args: Any, **kwargs: Any) -> Response:
        response = super().file_response(*args, **kwargs)
        response.headers.update(_HEADERS)
        return response


def add_page(app: FastAPI, context: PageContext) -> None:
    """Add the page, its files and, in demo mode, the endpoint that injects faults."""
    folder = Path(str(resources.files("hamlet.suggest.page").joinpath("static")))
    index = Template((folder / "index.html").read_text("utf-8"))
    app.mount("/static", _StaticFiles(directory=folder), name="static")

    @app.get("/", response_class=HTMLResponse, include_in_schema=False)
    async def show_page(request: Request) -> HTMLResponse:
        return HTMLResponse(await _render_page(index, request, context), headers=_HEADERS)

    if context.info.demo_state is not None:
        _add_fault_injection(app, context.service, context.info.demo_state)


def _add_fault_injection(app: FastAPI, service: SuggestService, demo_state: DemoState) -> None:
    @app.put("/v1/demo/trouble", include_in_schema=False)
    async def set_faults(body: DemoFaultsBody) -> JSONResponse:
        demo_state.faults = {"llm": body.llm, "web": body.web}
        await service.purge()
        return JSONResponse(body.model_dump())


async def _render_page(index: Template, request: Request, context: PageContext) -> str:
    """The page; its sections stay empty where suggestions need an API key."""
    suggest_request = _read_suggest_request(request)
    info, chips_html, links_html = context.info, "", ""
    if context.keyring().is_empty:
        first = await anext(aiter(context.service.revisions(suggest_request)))
        chips_html = render_chips(first.chips.items if first.chips else ())
        links_html = render_links(first.links.items if first.links else ())
    values = template_values(
        suggest_request.query,
        suggest_request.language,
        has_demo=info.demo_state is not None,
        has_model=info.has_model,
        has_web=info.has_web,
    )
    return index.substitute(values, chips_html=chips_html, links_html=links_html)


def _read_suggest_request(request: Request) -> SuggestRequest:
    """The context of a visit: the query parameter `q` fills the input, and is suggested for."""
    params = request.query_params
    query = params.get("q", "")[:_MAX_QUERY_CHARS]
    lang = params.get("lang", "")
    accepted = request.headers.get("accept-language", "")
    locale = {"lang": lang if lang in LANGUAGES else preferred_language(accepted)}
    body = SuggestBody.model_validate({"context": {"query": query}, "locale": locale})
    return body.to_suggest_request({"x-request-budget-ms": str(_BUDGET_MS)})
