"""The commands that look and move."""

from __future__ import annotations

import time
from typing import Annotated, Literal, get_args

import typer
from rich.console import Console
from rich.live import Live
from rich.table import Table

from hamlet.migration import Document, FeatureState, Stage
from hamlet.migration.cli.context import (
    CONFIG,
    GATE_CLOSED,
    Actor,
    ConfigFile,
    Desk,
    Why,
    at_desk,
    me,
    stop,
)
from hamlet.migration.edge import envoy, gateway_api, nginx, write_runtime
from hamlet.migration.transitions import next_step

cutover = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    help="Move features from hamlet1 to hamlet and back.",
)
Feature = Annotated[str, typer.Argument()]
_FORMATS = {"envoy": envoy, "gateway-api": gateway_api, "nginx": nginx}
_UNGATED: tuple[Stage, ...] = ("proxy", "shadow")


@cutover.command()
def init(config: ConfigFile = CONFIG) -> None:
    """Write the first state: every feature of the configuration is hamlet1's."""
    with at_desk(config) as desk:
        document = Document(
            written_at=time.time(), features={name: FeatureState() for name in desk.config.features}
        )
        try:
            desk.board.store.create(document)
        except FileExistsError:
            stop("there is a state already")
        if desk.config.edge.runtime is not None:
            write_runtime(desk.config.edge.runtime, desk.config, document)
        print(f"{', '.join(desk.config.features)}: legacy")


@cutover.command()
def export(
    format_: Annotated[Literal["envoy", "gateway-api", "nginx"], typer.Option("--format")],
    config: ConfigFile = CONFIG,
) -> None:
    """Print the edge's configuration for where features stand now."""
    with at_desk(config) as desk:
        print(_FORMATS[format_](desk.config, desk.board.read()), end="")


@cutover.command()
def status(
    config: ConfigFile = CONFIG,
    watch: Annotated[bool, typer.Option("--watch", help="Again every second, until ^C")] = False,
) -> None:
    """Show where features stand, what was seen there, and whether they may be raised."""
    with at_desk(config) as desk:
        if not watch:
            Console().print(_table(desk))
            return
        with Live(_table(desk), auto_refresh=False) as live:
            while True:
                time.sleep(1)
                live.update(_table(desk), refresh=True)


@cutover.command("set")
def set_(
    feature: Feature,
    stage: Annotated[str, typer.Argument(help=" | ".join(get_args(Stage)))],
    percent: Annotated[float | None, typer.Option(help="The share of a canary")] = None,
    sample: Annotated[float | None, typer.Option(help="Percent tried in the dark")] = None,
    actor: Actor = "",
    why: Why = "",
    config: ConfigFile = CONFIG,
) -> None:
    """Put a feature at a stage: any lower one, or proxy and shadow from the one before."""
    if stage not in get_args(Stage):
        stop(f"no such stage: {stage}; there are {', '.join(get_args(Stage))}")
    with at_desk(config) as desk:
        _, state = desk.state(feature)
        to: tuple[Stage, int] = (
            stage,  # type: ignore[assignment]
            round((percent or 0) * 100) if stage == "canary" else 0,
        )
        if sample is not None:
            desk.board.sample(feature, sample, actor=me(actor), why=why)
            _, state = desk.state(feature)
        target = FeatureState(stage=to[0], weight_bp=to[1])
        if target.exposure > state.exposure:
            if to[0] not in _UNGATED:
                stop(f"{target.step} is reached by `hamlet cutover advance`", GATE_CLOSED)
            desk.board.up(feature, seen=state, actor=me(actor), why=why, to=to)
        elif target.exposure < state.exposure:
            desk.board.down({feature: to}, actor=me(actor), why=why, cooldown=False)
        _say(desk, feature)


@cutover.command()
def advance(
    feature: Feature,
    to: Annotated[float | None, typer.Option(help="The percent that the step must lead to")] = None,
    actor: Actor = "",
    why: Why = "",
    config: ConfigFile = CONFIG,
) -> None:
    """Raise a feature by one step, if its gate is open; else say why not (status 3)."""
    with at_desk(config) as desk:
        _, state, evidence, reasons = desk.gate(feature)
        if reasons:
            for reason in reasons:
                print(f"  {reason}")
            stop(f"{feature} stays at {state.step}: the gate is closed", GATE_CLOSED)
        wanted: tuple[Stage, int] | None = None
        if to is not None:
            wanted = ("new", 0) if to >= 100 else ("canary", round(to * 100))
        desk.board.up(
            feature,
            seen=state,
            actor=me(actor),
            why=why,
            to=wanted,
            evidence=evidence.told(),
        )
        _say(desk, feature)


@cutover.command()
def hold(feature: Feature, why: Why = "", actor: Actor = "", config: ConfigFile = CONFIG) -> None:
    """Keep a feature from being raised."""
    with at_desk(config) as desk:
        desk.state(feature)
        desk.board.hold(feature, actor=me(actor), why=why or f"held by {me(actor)}")
        _say(desk, feature)


@cutover.command()
def release(
    feature: Feature, why: Why = "", actor: Actor = "", config: ConfigFile = CONFIG
) -> None:
    """End a hold and a cooling down; evidence is gathered anew."""
    with at_desk(config) as desk:
        desk.state(feature)
        desk.board.release(feature, actor=me(actor), why=why)
        _say(desk, feature)


@cutover.command()
def rollback(
    feature: Annotated[str | None, typer.Argument()] = None,
    all_: Annotated[bool, typer.Option("--all", help="Every feature")] = False,
    to: Annotated[Literal["legacy", "proxy"], typer.Option(help="How far")] = "legacy",
    why: Why = "",
    actor: Actor = "",
    config: ConfigFile = CONFIG,
) -> None:
    """Give a feature back to hamlet1. Works without any hamlet: the state and the edge's file."""
    if (feature is None) == (not all_):
        stop("name a feature, or say --all")
    with at_desk(config) as desk:
        names = list(desk.config.features) if feature is None else [feature]
        for name in names:
            desk.state(name)
        desk.board.down(dict.fromkeys(names, (to, 0)), actor=me(actor), why=why)
        for name in names:
            _say(desk, name)


def _say(desk: Desk, feature: str) -> None:
    document, state = desk.state(feature)
    held = f" (held: {state.hold})" if state.hold else ""
    print(f"{feature}: {state.step}{held}, epoch {document.epoch}")


def _table(desk: Desk) -> Table:
    columns = ("feature", "stands at", "new", "legacy", "bad", "compared", "p95", "next", "gate")
    table = Table(*columns, box=None)
    for name in desk.config.features:
        _, state, evidence, reasons = desk.gate(name)
        tally, total = evidence.tally, evidence.p95.get("total") or {}
        step = next_step(state)
        after = "-" if step is None else f"{step[0]} {step[1] / 100:g}%".removesuffix(" 0%")
        table.add_row(
            name,
            f"{state.step} (held)" if state.hold else state.step,
            str(tally.judged_new),
            str(tally.legacy.total()),
            str(tally.bad_new),
            str(tally.compared),
            " / ".join(_seconds(total.get(arm)) for arm in ("new", "legacy")),
            after,
            "open" if not reasons else "; ".join(reasons),
        )
    return table


def _seconds(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f} s"


# The rest of the commands register themselves on `cutover`.
from hamlet.migration.cli import long_running, reporting  # noqa: E402, F401
