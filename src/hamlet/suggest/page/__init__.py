"""The demo page at `/`: rendered once by the server, so that it works without scripts."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from html import escape
from importlib import resources
from pathlib import Path
from string import Template
from typing import Any, Protocol

from fastapi import FastAPI, Request
from fastapi.responses import HTMLResponse, JSONResponse, Response
from fastapi.staticfiles import StaticFiles
from pydantic import BaseModel, ConfigDict

from hamlet.api.auth import Keyring
from hamlet.core.text import Language
from hamlet.suggest import Chip, Link, SuggestRequest, SuggestService
from hamlet.suggest.api.request import SuggestBody, preferred_language
from hamlet.suggest.demo import DemoFault, DemoState

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
_LANGUAGES: tuple[Language, ...] = ("ko", "en", "ja")
_LABELS: dict[str, tuple[str, str, str]] = {
    "ask": ("무엇이 궁금하세요?", "What is on your mind?", "何が気になりますか？"),
    "hint": (
        "예: 서울 지하철 막차 시간",
        "For example: how do vaccines work",
        "例：確定申告のやり方",
    ),
    "send": ("질문", "Ask", "質問"),
    "chips": ("이런 질문은 어때요", "You might ask", "こんな質問はどうですか"),
    "links": ("관련 링크", "Related links", "関連リンク"),
}


class PageInfo(Protocol):
    """What the page tells of the process it is served by."""

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
    """Which part of the demonstration shall have which trouble."""

    model_config = ConfigDict(extra="forbid")

    llm: DemoFault = "none"
    web: DemoFault = "none"


class _StaticFiles(StaticFiles):
    """Files of the page, under the page's own policy."""

    def file_response(self, *args: Any, **kwargs: Any) -> Response:
        response = super().file_response(*args, **kwargs)
        response.headers.update(_HEADERS)
        return response


def add_page(app: FastAPI, context: PageContext) -> None:
    """Add the page, its files, and in demo mode the switch for troubles."""
    folder = Path(str(resources.files("hamlet.suggest.page").joinpath("static")))
    index = Template((folder / "index.html").read_text("utf-8"))
    app.mount("/static", _StaticFiles(directory=folder), name="static")

    @app.get("/", response_class=HTMLResponse, include_in_schema=False)
    async def show_page(request: Request) -> HTMLResponse:
        suggest_request = _read_suggest_request(request)
        chips, links = (
            await _render_local_sections(suggest_request, context)
            if context.keyring().is_empty
            else ("", "")
        )
        values = {
            **_template_values(request, suggest_request.language, context.info),
            "chips_html": chips,
        }
        return HTMLResponse(index.substitute(values, links_html=links), headers=_HEADERS)

    demo_state = context.info.demo_state
    if demo_state is None:
        return

    @app.put("/v1/demo/trouble", include_in_schema=False)
    async def set_faults(body: DemoFaultsBody) -> JSONResponse:
        demo_state.faults = {"llm": body.llm, "web": body.web}
        await context.service.purge()
        return JSONResponse(body.model_dump())


def _read_suggest_request(request: Request) -> SuggestRequest:
    """The context of a plain visit: `?q=` fills the composer, and is suggested for."""
    params = request.query_params
    query = params.get("q", "")[:_MAX_QUERY_CHARS]
    lang = params.get("lang", "")
    accepted = request.headers.get("accept-language", "")
    locale = {"lang": lang if lang in _LANGUAGES else preferred_language(accepted)}
    body = SuggestBody.model_validate({"context": {"query": query}, "locale": locale})
    return body.to_suggest_request({"x-request-budget-ms": str(_BUDGET_MS)})


async def _render_local_sections(
    suggest_request: SuggestRequest, context: PageContext
) -> tuple[str, str]:
    first = await anext(aiter(context.service.revisions(suggest_request)))
    chips = "".join(_render_chip(chip) for chip in (first.chips.items if first.chips else ()))
    return chips, "".join(_render_link(link) for link in (first.links.items if first.links else ()))


def _render_chip(chip: Chip) -> str:
    prompt, lang = escape(chip.prompt), escape(chip.lang)
    button = f'<button class="chip" name="q" value="{prompt}" title="{prompt}" lang="{lang}"'
    return f'<li>{button} data-icon="{escape(chip.icon)}">{escape(chip.text)}</button></li>'


def _render_link(link: Link) -> str:
    attributes = 'rel="noopener nofollow" referrerpolicy="no-referrer" target="_blank"'
    title, text = escape(link.title), escape(link.snippet)
    return (
        f'<li class="card" lang="{escape(link.lang)}">'
        f'<span class="avatar" aria-hidden="true">{escape(link.title[:1])}</span>'
        f'<div><h3><a href="{escape(link.url)}" {attributes}>{title}</a></h3>'
        f'<p class="snippet">{text}</p><p class="host">{escape(link.display_url)}</p></div></li>'
    )


def _template_values(request: Request, lang: Language, info: PageInfo) -> dict[str, str]:
    def to_json(yes: bool) -> str:
        return "true" if yes else "false"

    language_index = _LANGUAGES.index(lang)
    labels = {f"label_{name}": escape(texts[language_index]) for name, texts in _LABELS.items()}
    pressed_flags = {f"pressed_{one}": to_json(one == lang) for one in _LANGUAGES}
    return {
        **labels,
        **pressed_flags,
        "lang": lang,
        "query": escape(request.query_params.get("q", "")[:_MAX_QUERY_CHARS]),
        "demo": to_json(info.demo_state is not None),
        "model": to_json(info.has_model),
        "web": to_json(info.has_web),
    }
