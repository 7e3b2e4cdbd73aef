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
from hamlet.suggest import Ask, Chip, Link, SuggestService
from hamlet.suggest.api.request import SuggestRequest, preferred
from hamlet.suggest.demo import Stage, Trouble

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
_LONGEST, _BUDGET_MS = 512, 50
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


class Setup(Protocol):
    """What the page tells of the process it is served by."""

    stage: Stage | None
    has_model: bool
    has_web: bool


@dataclass(frozen=True, slots=True)
class PageParts:
    """What the page needs."""

    service: SuggestService
    keyring: Callable[[], Keyring]
    setup: Setup


class Troubles(BaseModel):
    """Which part of the demonstration shall have which trouble."""

    model_config = ConfigDict(extra="forbid")

    llm: Trouble = "none"
    web: Trouble = "none"


class _Static(StaticFiles):
    """Files of the page, under the page's own policy."""

    def file_response(self, *args: Any, **kwargs: Any) -> Response:
        response = super().file_response(*args, **kwargs)
        response.headers.update(_HEADERS)
        return response


def page(app: FastAPI, parts: PageParts) -> None:
    """Add the page, its files, and in demo mode the switch for troubles."""
    folder = Path(str(resources.files("hamlet.suggest.page").joinpath("static")))
    index = Template((folder / "index.html").read_text("utf-8"))
    app.mount("/static", _Static(directory=folder), name="static")

    @app.get("/", response_class=HTMLResponse, include_in_schema=False)
    async def show(request: Request) -> HTMLResponse:
        ask = _ask(request)
        chips, links = await _in_hand(ask, parts) if parts.keyring().is_empty else ("", "")
        values = {**_values(request, ask.language, parts.setup), "chips_html": chips}
        return HTMLResponse(index.substitute(values, links_html=links), headers=_HEADERS)

    stage = parts.setup.stage
    if stage is None:
        return

    @app.put("/v1/demo/trouble", include_in_schema=False)
    async def trouble(wish: Troubles) -> JSONResponse:
        stage.trouble = {"llm": wish.llm, "web": wish.web}
        await parts.service.purge()
        return JSONResponse(wish.model_dump())


def _ask(request: Request) -> Ask:
    """The context of a plain visit: `?q=` fills the composer, and is suggested for."""
    given = request.query_params
    query = given.get("q", "")[:_LONGEST]
    lang = given.get("lang", "")
    accepted = request.headers.get("accept-language", "")
    locale = {"lang": lang if lang in _LANGUAGES else preferred(accepted)}
    wish = SuggestRequest.model_validate({"context": {"query": query}, "locale": locale})
    return wish.ask({"x-request-budget-ms": str(_BUDGET_MS)})


async def _in_hand(ask: Ask, parts: PageParts) -> tuple[str, str]:
    first = await anext(aiter(parts.service.revisions(ask)))
    chips = "".join(_chip(chip) for chip in (first.chips.items if first.chips else ()))
    return chips, "".join(_link(link) for link in (first.links.items if first.links else ()))


def _chip(chip: Chip) -> str:
    prompt, lang = escape(chip.prompt), escape(chip.lang)
    button = f'<button class="chip" name="q" value="{prompt}" title="{prompt}" lang="{lang}"'
    return f'<li>{button} data-icon="{escape(chip.icon)}">{escape(chip.text)}</button></li>'


def _link(link: Link) -> str:
    attributes = 'rel="noopener nofollow" referrerpolicy="no-referrer" target="_blank"'
    title, text = escape(link.title), escape(link.snippet)
    return (
        f'<li class="card" lang="{escape(link.lang)}">'
        f'<span class="avatar" aria-hidden="true">{escape(link.title[:1])}</span>'
        f'<div><h3><a href="{escape(link.url)}" {attributes}>{title}</a></h3>'
        f'<p class="snippet">{text}</p><p class="host">{escape(link.display_url)}</p></div></li>'
    )


def _values(request: Request, lang: Language, setup: Setup) -> dict[str, str]:
    def told(yes: bool) -> str:
        return "true" if yes else "false"

    at = _LANGUAGES.index(lang)
    labels = {f"label_{name}": escape(texts[at]) for name, texts in _LABELS.items()}
    pressed = {f"pressed_{one}": told(one == lang) for one in _LANGUAGES}
    return {
        **labels,
        **pressed,
        "lang": lang,
        "query": escape(request.query_params.get("q", "")[:_LONGEST]),
        "demo": told(setup.stage is not None),
        "model": told(setup.has_model),
        "web": told(setup.has_web),
    }
