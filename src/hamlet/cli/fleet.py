"""`hamlet fleet`: what a running hamlet knows of its deployments, and one that is simulated."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Annotated, Any

import httpx2
import typer
from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from hamlet.cli.simulate import simulate

fleet = typer.Typer(
    add_completion=False, no_args_is_help=True, help="The deployments behind the routes."
)
fleet.command()(simulate)
_Url = Annotated[str, typer.Option("--url", help="Where hamlet serves")]
_Key = Annotated[
    Path | None, typer.Option("--key-file", help="A file with an admin key; else HAMLET_ADMIN_KEY")
]
_DEFAULT_URL = "http://127.0.0.1:8080"
_BAR_WIDTH = 12


@fleet.command()
def explain(
    route: Annotated[str, typer.Argument(help="The route a call would name")],
    url: _Url = _DEFAULT_URL,
    key_file: _Key = None,
    input_tokens: Annotated[int, typer.Option(help="Tokens of the prompt")] = 1000,
    output_tokens: Annotated[int, typer.Option(help="The call's max_tokens")] = 300,
    stream: Annotated[bool, typer.Option()] = True,
) -> None:
    """Show the plan that a call gets now, and why each deployment is in it or not."""
    query = {
        "route": route,
        "input_tokens": str(input_tokens),
        "output_tokens": str(output_tokens),
        "stream": str(stream).lower(),
    }
    with _client(url, key_file) as http:
        rows = _fetch_routes(http, query)[route]
    Console().print(_route_table(route, rows))


@fleet.command()
def top(
    url: _Url = _DEFAULT_URL,
    key_file: _Key = None,
    every_s: Annotated[float, typer.Option(help="Seconds between looks", min=0.2)] = 1.0,
    looks: Annotated[int, typer.Option(help="Stop after so many; 0 for never")] = 0,
) -> None:
    """Watch fill, first token, cooldowns, breakers and chances, live. Ctrl-C ends."""
    with _client(url, key_file) as http, Live(console=Console(), auto_refresh=False) as live:
        seen = 0
        try:
            while True:
                tables = [
                    _route_table(name, rows) for name, rows in _fetch_routes(http, {}).items()
                ]
                live.update(Group(*tables), refresh=True)
                seen += 1
                if seen == looks:
                    return
                time.sleep(every_s)
        except KeyboardInterrupt:
            return


def _client(url: str, key_file: Path | None) -> httpx2.Client:
    key = os.environ.get("HAMLET_ADMIN_KEY", "")
    if key_file is not None:
        try:
            key = key_file.read_text("utf-8").strip()
        except (OSError, UnicodeDecodeError) as error:
            raise _error_exit(f"{key_file}: cannot be read: {type(error).__name__}") from None
    headers = {"authorization": f"Bearer {key}"} if key else {}
    return httpx2.Client(base_url=url, headers=headers, timeout=10.0)


def _fetch_routes(http: httpx2.Client, query: dict[str, str]) -> dict[str, list[dict[str, Any]]]:
    try:
        response = http.get("/v1/admin/fleet", params=query)
        payload: Any = response.json()
    except (httpx2.HTTPError, ValueError) as error:
        raise _error_exit(f"{http.base_url}: no hamlet answers: {type(error).__name__}") from None
    if response.status_code != 200:
        raise _error_exit(
            f"{http.base_url}: {_error_message(payload)} (HTTP {response.status_code})"
        )
    return payload  # type: ignore[no-any-return]


def _error_message(payload: Any) -> str:
    fault = payload.get("error") if isinstance(payload, dict) else None
    return str(fault.get("message")) if isinstance(fault, dict) else "refused"


_COLUMNS = (
    "tier", "deployment", "region", "capacity", "fill", "in flight", "expected", "slow",
    "cooldown", "chance", "breaker", "verdict",
)  # fmt: skip


def _route_table(route: str, rows: list[dict[str, Any]]) -> Table:
    """A table of the columns that say anything, so that it fits a narrow terminal."""
    table = Table(title=route, title_justify="left", box=None, pad_edge=False)
    cells = [_row_cells(row) for row in rows]
    kept = [i for i in range(len(_COLUMNS)) if any(str(row[i]) for row in cells)]
    for i in kept:
        table.add_column(_COLUMNS[i], no_wrap=True, overflow="fold")
    for row in cells:
        table.add_row(*(row[i] for i in kept))
    return table


def _row_cells(row: dict[str, Any]) -> tuple[str | Text, ...]:
    opens = f" {row['opens_in_s']:.0f} s" if row["opens_in_s"] else ""
    breaker = "" if row["breaker"] == "closed" else f"{row['breaker']}{opens}"
    is_selectable = row["verdict"] == "in"
    return (
        str(row["tier"]),
        row["deployment"],
        row["region"],
        row["capacity"],
        _fill_bar(row["fill"]) if row["capacity"] else "",
        str(row["in_flight"] or ""),
        f"{row['expected_s'] * 1000:.0f} ms",
        f"{row['slowness']:.1f}x" if row["slowness"] > 1.05 else "",
        f"{row['cooldown_s']:.1f} s" if row["cooldown_s"] else "",
        f"{row['chance']:.0%}" if row["chance"] else "",
        Text(breaker, "red" if breaker else ""),
        Text(row["verdict"], "green" if is_selectable else "yellow"),
    )


def _fill_bar(fill: float) -> Text:
    style = "red" if fill > 1 else "yellow" if fill > 0.8 else "green"
    filled = min(_BAR_WIDTH, round(fill * _BAR_WIDTH))
    return Text(f"{'█' * filled}{'░' * (_BAR_WIDTH - filled)} {fill:4.0%}", style)


def _error_exit(message: str) -> typer.Exit:
    typer.echo(message, err=True)
    return typer.Exit(2)
