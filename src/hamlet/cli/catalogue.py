"""`hamlet catalogue import | check | stats`"""

from __future__ import annotations

import asyncio
from collections import Counter
from pathlib import Path
from typing import Annotated, Literal

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from hamlet.cli_support import error_exit
from hamlet.suggest.content import (
    LANGUAGES,
    BadRow,
    Content,
    PackError,
    load_content,
    parse_rows,
    save_health,
    save_pack,
)
from hamlet.suggest.content.link_check import check_urls
from hamlet.suggest.content.rows import Row
from hamlet.suggest.content_editor import row_check

catalogue = typer.Typer(
    add_completion=False, no_args_is_help=True, help="Manage your own links and chips."
)
_FORMATS = {".jsonl": "jsonl", ".csv": "csv", ".opml": "opml", ".xml": "opml"}
_Folder = Annotated[
    Path, typer.Option("--folder", help="The folder of packs (suggest.packs.folder)")
]
_MAX_ERRORS_SHOWN = 50


@catalogue.command("import")
def import_(
    file: Annotated[Path, typer.Argument(help="JSON Lines, CSV or OPML, by its suffix")],
    folder: _Folder,
    license_: Annotated[str, typer.Option("--license", help="The licence of the content")],
    kind: Annotated[Literal["links", "chips"], typer.Option(help="What the rows are")] = "links",
    name: Annotated[str, typer.Option(help="The pack's name; by default the file's")] = "",
    lang: Annotated[
        Literal["ko", "en", "ja"], typer.Option(help="The language of texts that name none")
    ] = "en",
    source: Annotated[
        str, typer.Option(help="Where the rows come from; by default the file's name")
    ] = "",
) -> None:
    """Add the rows of FILE to a pack. Invalid rows are reported and skipped; status 1 if any."""
    format_name = _FORMATS.get(file.suffix.lower())
    if format_name is None:
        raise error_exit(f"{file}: the name must end in {', '.join(_FORMATS)}")
    try:
        text = file.read_text("utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise error_exit(f"{file}: cannot be read: {type(error).__name__}") from None
    rows: list[Row] = []
    bad_rows: list[BadRow] = []
    with _progress_bar() as bar:
        task = bar.add_task("reading", total=text.count("\n") or None)
        for row in parse_rows(text, format_name, kind, lang, row_check(kind)):
            bar.advance(task)
            bad_rows.append(row) if isinstance(row, BadRow) else rows.append(row)
    for bad_row in bad_rows[:_MAX_ERRORS_SHOWN]:
        typer.echo(f"{file}:{bad_row.line}: {bad_row.reason}", err=True)
    if len(bad_rows) > _MAX_ERRORS_SHOWN:
        typer.echo(f"... and {len(bad_rows) - _MAX_ERRORS_SHOWN} more invalid rows", err=True)
    if not rows:
        raise error_exit(f"{file}: no valid row; nothing is changed")
    try:
        pack = save_pack(
            folder, name or file.stem.lower(), kind, rows, license_, source or file.name
        )
    except PackError as error:
        raise error_exit(str(error)) from None
    print(
        f"{pack.name}: {len(rows)} taken, {len(bad_rows)} refused; {pack.rows} {kind} in the pack"
    )
    print("a running server picks it up at its next reload (SIGHUP)")
    if bad_rows:
        raise typer.Exit(1)


@catalogue.command()
def check(
    folder: _Folder,
    per_host_s: Annotated[float, typer.Option(help="Seconds between requests to one host")] = 1.0,
    timeout_s: Annotated[float, typer.Option(help="Seconds to wait for a response")] = 10.0,
) -> None:
    """Request every link; links that are gone (404 or 410) are no longer shown."""
    urls = [row.url for row in _load_content(folder, quarantine=False).links]
    with _progress_bar() as bar:
        task = bar.add_task("requesting", total=len(urls))
        statuses = asyncio.run(check_urls(urls, per_host_s, timeout_s, lambda: bar.advance(task)))
    save_health(folder, statuses)
    kinds = Counter("no answer" if not code else f"{code // 100}xx" for code in statuses.values())
    print(", ".join(f"{name}: {count}" for name, count in sorted(kinds.items())))
    for url, code in statuses.items():
        if code in (404, 410):
            print(f"gone ({code}): {url}")


@catalogue.command()
def stats(
    folder: Annotated[
        Path | None, typer.Option("--folder", help="The folder of packs, besides the built-in ones")
    ] = None,
) -> None:
    """Count packs, links and chips, by topic and language."""
    content = _load_content(folder)
    console = Console()
    packs = Table("pack", "kind", "version", "rows", "licence", "source", box=None)
    for pack in content.packs:
        packs.add_row(
            pack.name, pack.kind, str(pack.version), str(pack.rows), pack.license, pack.source
        )
    if content.packs:
        console.print(packs)
    console.print(
        f"{len(content.links)} links, {len(content.chips)} chips, "
        f"{content.quarantined} links quarantined"
    )
    table = Table("topic", *(f"links {lang}" for lang in LANGUAGES), "chips", box=None)
    for topic, cells in _count_by_topic(content):
        table.add_row(topic, *cells)
    console.print(table)


def _count_by_topic(content: Content) -> list[tuple[str, list[str]]]:
    links = Counter((row.topics[0] if row.topics else "-", row.site_lang) for row in content.links)
    chips = Counter(row.topics[0] if row.topics else "-" for row in content.chips)
    topics = sorted({topic for topic, _ in links} | chips.keys())
    return [
        (topic, [*(str(links[topic, lang]) for lang in LANGUAGES), str(chips[topic])])
        for topic in topics
    ]


def _load_content(folder: Path | None, *, quarantine: bool = True) -> Content:
    try:
        return load_content(folder, quarantine=quarantine)
    except PackError as error:
        raise error_exit(str(error)) from None


def _progress_bar() -> Progress:
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    return Progress(*columns, TimeRemainingColumn(), console=Console(stderr=True))
