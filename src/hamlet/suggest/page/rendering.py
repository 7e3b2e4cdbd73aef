"""The values of the page's template. Everything that comes from a request is escaped."""

from __future__ import annotations

from collections.abc import Iterable
from html import escape

from hamlet.core.text import Language
from hamlet.suggest.model import Chip, Link

LANGUAGES: tuple[Language, ...] = ("ko", "en", "ja")
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


def render_chips(chips: Iterable[Chip]) -> str:
    """The list items of the chips, as buttons that submit the form."""
    return "".join([_render_chip(chip) for chip in chips])


def render_links(links: Iterable[Link]) -> str:
    """The list items of the links, as cards."""
    return "".join([_render_link(link) for link in links])


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


def template_values(
    query: str, lang: Language, *, has_demo: bool, has_model: bool, has_web: bool
) -> dict[str, str]:
    """All values of `index.html` but the items of the two lists."""
    language_index = LANGUAGES.index(lang)
    labels = {f"label_{name}": escape(texts[language_index]) for name, texts in _LABELS.items()}
    pressed = {f"pressed_{each}": _to_json(each == lang) for each in LANGUAGES}
    return {
        **labels,
        **pressed,
        "lang": lang,
        "query": escape(query),
        "demo": _to_json(has_demo),
        "model": _to_json(has_model),
        "web": _to_json(has_web),
    }


def _to_json(flag: bool) -> str:
    return "true" if flag else "false"
