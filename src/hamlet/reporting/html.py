"""HTML pages that need no script and no network: the document, tables, and escaping."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from html import escape

__all__ = ["Markup", "escape", "figure", "inline_svg", "page", "table", "unordered_list"]

_BASE_STYLE = (
    "body{font:14px/1.45 system-ui,sans-serif;color:#222;max-width:1320px;margin:24px auto;"
    "padding:0 16px}table{border-collapse:collapse;margin:8px 0 16px}"
    "td,th{padding:3px 12px;text-align:left;border-bottom:1px solid #e3e3e3}th{font-weight:600}"
    "td.number{text-align:right;font-variant-numeric:tabular-nums}svg{max-width:100%;height:auto}"
    ".charts{display:grid;grid-template-columns:repeat(auto-fit,minmax(520px,1fr));gap:12px}"
    "figure{margin:0;border:1px solid #e3e3e3;border-radius:6px;padding:8px}"
    "figcaption{font-weight:600}"
)
_NAMESPACE = re.compile(r' xmlns(?::\w+)?="[^"]*"')


class Markup(str):
    """Text that is HTML already: `table` does not escape it."""

    __slots__ = ()


def page(title: str, body: str, *, style: str = "") -> str:
    """A whole document. `title` is escaped, `body` is HTML, `style` is CSS after the house's."""
    return (
        '<!doctype html><html lang="en"><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width">'
        f"<title>{escape(title)}</title><style>{_BASE_STYLE}{style}</style>{body}</html>\n"
    )


def table(head: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """A table; without a head row if `head` is empty. Cells are escaped, numbers right-aligned."""
    first = f"<tr>{''.join(f'<th>{_text(cell)}</th>' for cell in head)}</tr>" if head else ""
    body = "".join(f"<tr>{''.join(map(_cell, row))}</tr>" for row in rows)
    return f"<table>{first}{body}</table>"


def unordered_list(items: Iterable[str]) -> str:
    """A list with bullets; items are escaped."""
    return f"<ul>{''.join(f'<li>{_text(item)}</li>' for item in items)}</ul>"


def figure(caption: str, svg: str) -> str:
    """A chart with its caption, which is escaped."""
    return f"<figure><figcaption>{escape(caption)}</figcaption>{inline_svg(svg)}</figure>"


def inline_svg(svg: str) -> str:
    """An SVG document as an element of HTML, where namespaces are implied."""
    return _NAMESPACE.sub("", svg)


def _cell(value: object) -> str:
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
    start = '<td class="number">' if is_number else "<td>"
    return f"{start}{_text(value)}</td>"


def _text(value: object) -> str:
    return value if isinstance(value, Markup) else escape(str(value))
