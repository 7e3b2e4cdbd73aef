"""`hamlet fleet`: the state of a running hamlet's deployments, and simulations of a fleet."""

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
from hamlet.cli_support import error_exit

fleet = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    help="Inspect or simulate the deployments behind the routes.",
)
fleet.command()(simulate)
_Url = Annotated[str, typer.Option("--url", help="The URL of a running hamlet")]
_Key = Annotated[
    Path | None,
    typer.Option("--key-file", help="A file with an admin key; default: $HAMLET_ADMIN_KEY"),
]
_DEFAULT_URL = "http://127.0.0.1:8080"
_BAR_WIDTH = 12


@fleet.command()
def explain(
    route: Annotated[str, typer.Argument(help="The route, as a call would name it")],
    url: _Url = _DEFAULT_URL,
    key_file: _Key = None,
    input_tokens: Annotated[int, typer.Option(help="The call's prompt tokens")] = 1000,
    output_tokens: Annotated[int, typer.Option(help="The call's max_tokens")] = 300,
    stream: Annotated[bool, typer.Option(help="Whether the call streams")] = True,
) -> None:
    """Show in which order a call would try deployments now, and why some are left out."""
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
    every_s: Annotated[float, typer.Option(help="Seconds between refreshes", min=0.2)] = 1.0,
    looks: Annotated[int, typer.Option(help="Stop after this many refreshes; 0: never")] = 0,
) -> None:
    """Watch fill, latency, cooldowns, circuit breakers and probabilities live, until Ctrl-C."""
    with _client(url, key_file) as http, Live(console=Console(), auto_refresh=False) as live:
        refreshes = 0
        try:
            while True:
                tables = [
                    _route_table(name, rows) for name, rows in _fetch_routes(http, {}).items()
                ]
                live.update(Group(*tables), refresh=True)
                refreshes += 1
                if refreshes == looks:
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
            raise error_exit(f"{key_file}: cannot be read: {type(error).__name__}") from None
    headers = {"authorization": f"Bearer {key}"} if key else {}
    return httpx2.Client(base_url=url, headers=headers, timeout=10.0)


def _fetch_routes(http: httpx2.Client, query: dict[str, str]) -> dict[str, list[dict[str, Any]]]:
    try:
        response = http.get("/v1/admin/fleet", params=query)
        payload: Any = response.json()
    except (httpx2.HTTPError, ValueError) as error:
        raise error_exit(f"{http.base_url}: no hamlet answers: {type(error).__name__}") from None
    if response.status_code != 200:
        raise error_exit(
            f"{http.base_url}: {_error_message(payload)} (HTTP {response.status_code})"
        )
    return payload  # type: ignore[no-any-return]


def _error_message(payload: Any) -> str:
    error = payload.get("error") if isinstance(payload, dict) else None
    return str(error.get("message")) if isinstance(error, dict) else "refused"


_COLUMNS = (
    "tier", "deployment", "region", "capacity", "fill", "in flight", "expected", "slow",
    "cooldown", "chance", "breaker", "verdict",
)  # fmt: skip


def _route_table(route: str, rows: list[dict[str, Any]]) -> Table:
    """A table without its empty columns, so that it fits a narrow terminal."""
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
