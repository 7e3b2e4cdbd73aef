"""`hamlet cutover`: the commands that show and change where features are."""

from __future__ import annotations

import time
from typing import Annotated, Literal, get_args

import typer
from rich.console import Console
from rich.live import Live
from rich.table import Table

from hamlet.migration.cli.session import (
    DEFAULT_CONFIG,
    GATE_CLOSED,
    Actor,
    ConfigFile,
    CutoverSession,
    FeatureName,
    Why,
    exit_with_error,
    open_session,
    resolve_actor,
)
from hamlet.migration.edge import render_envoy, render_gateway_api, render_nginx, write_runtime
from hamlet.migration.rollout_document import FeatureState, RolloutDocument, Stage
from hamlet.migration.transitions import next_step

_RENDERERS = {"envoy": render_envoy, "gateway-api": render_gateway_api, "nginx": render_nginx}
_UNGATED_STAGES: tuple[Stage, ...] = ("proxy", "shadow")


def init(config: ConfigFile = DEFAULT_CONFIG) -> None:
    """Create the rollout state, with every feature at `legacy`."""
    with open_session(config) as session:
        document = RolloutDocument(
            written_at=time.time(),
            features={name: FeatureState() for name in session.config.features},
        )
        try:
            session.controller.state_store.create(document)
        except FileExistsError:
            exit_with_error("there is a state already; `hamlet cutover status` shows it")
        if session.config.edge.runtime is not None:
            write_runtime(session.config.edge.runtime, session.config, document)
        print(f"{', '.join(session.config.features)}: legacy")


def export(
    format_: Annotated[
        Literal["envoy", "gateway-api", "nginx"],
        typer.Option("--format", help="The edge proxy to configure"),
    ],
    config: ConfigFile = DEFAULT_CONFIG,
) -> None:
    """Print the edge proxy's configuration for the current state."""
    with open_session(config) as session:
        print(_RENDERERS[format_](session.config, session.controller.read()), end="")


def status(
    config: ConfigFile = DEFAULT_CONFIG,
    watch: Annotated[
        bool, typer.Option("--watch", help="Refresh every second until Ctrl-C")
    ] = False,
) -> None:
    """Show every feature's step, the evidence so far, and whether its gate is open."""
    with open_session(config) as session:
        if not watch:
            Console().print(_status_table(session))
            return
        with Live(_status_table(session), auto_refresh=False) as live:
            while True:
                time.sleep(1)
                live.update(_status_table(session), refresh=True)


def set_(
    feature: FeatureName,
    stage: Annotated[str, typer.Argument(help=" | ".join(get_args(Stage)))],
    percent: Annotated[
        float | None, typer.Option(help="The share of the canary, in percent")
    ] = None,
    sample: Annotated[float | None, typer.Option(help="Percentage of requests to shadow")] = None,
    actor: Actor = "",
    why: Why = "",
    config: ConfigFile = DEFAULT_CONFIG,
) -> None:
    """Set a feature's stage: any lower one, or one step up to proxy or shadow."""
    if stage not in get_args(Stage):
        exit_with_error(f"no such stage: {stage}; there are {', '.join(get_args(Stage))}")
    with open_session(config) as session:
        _, state = session.state(feature)
        to: tuple[Stage, int] = (
            stage,  # type: ignore[assignment]
            round((percent or 0) * 100) if stage == "canary" else 0,
        )
        if sample is not None:
            session.controller.set_shadow_percent(
                feature, sample, actor=resolve_actor(actor), why=why
            )
            _, state = session.state(feature)
        target = FeatureState(stage=to[0], weight_bp=to[1])
        if target.exposure > state.exposure:
            if to[0] not in _UNGATED_STAGES:
                exit_with_error(
                    f"{target.step_label} is reached by `hamlet cutover advance`", GATE_CLOSED
                )
            session.controller.promote(
                feature, expected=state, actor=resolve_actor(actor), why=why, to=to
            )
        elif target.exposure < state.exposure:
            session.controller.demote(
                {feature: to}, actor=resolve_actor(actor), why=why, cooldown=False
            )
        _print_state(session, feature)


def advance(
    feature: FeatureName,
    to: Annotated[
        float | None, typer.Option(help="Only if this step leads to this percentage")
    ] = None,
    actor: Actor = "",
    why: Why = "",
    config: ConfigFile = DEFAULT_CONFIG,
) -> None:
    """Promote a feature by one step if its gate is open; otherwise list the reasons (status 3)."""
    with open_session(config) as session:
        _, state, evidence, reasons = session.check_gate(feature)
        if reasons:
            for reason in reasons:
                print(f"  {reason}")
            exit_with_error(
                f"{feature} stays at {state.step_label}: the gate is closed", GATE_CLOSED
            )
        wanted: tuple[Stage, int] | None = None
        if to is not None:
            wanted = ("new", 0) if to >= 100 else ("canary", round(to * 100))
        session.controller.promote(
            feature,
            expected=state,
            actor=resolve_actor(actor),
            why=why,
            to=wanted,
            evidence=evidence.to_dict(),
        )
        _print_state(session, feature)


def hold(
    feature: FeatureName, why: Why = "", actor: Actor = "", config: ConfigFile = DEFAULT_CONFIG
) -> None:
    """Block promotions of a feature."""
    with open_session(config) as session:
        session.state(feature)
        session.controller.hold(
            feature, actor=resolve_actor(actor), why=why or f"held by {resolve_actor(actor)}"
        )
        _print_state(session, feature)


def release(
    feature: FeatureName, why: Why = "", actor: Actor = "", config: ConfigFile = DEFAULT_CONFIG
) -> None:
    """End a feature's hold and cooldown; evidence counts anew from here."""
    with open_session(config) as session:
        session.state(feature)
        session.controller.release(feature, actor=resolve_actor(actor), why=why)
        _print_state(session, feature)


def rollback(
    feature: Annotated[str | None, typer.Argument(help="A feature, unless --all is given")] = None,
    all_: Annotated[bool, typer.Option("--all", help="Every feature")] = False,
    to: Annotated[
        Literal["legacy", "proxy"], typer.Option(help="The stage to go back to")
    ] = "legacy",
    why: Why = "",
    actor: Actor = "",
    config: ConfigFile = DEFAULT_CONFIG,
) -> None:
    """Return a feature to hamlet1, by the state and the edge's file. Needs no running hamlet."""
    if (feature is None) == (not all_):
        exit_with_error("name a feature, or pass --all")
    with open_session(config) as session:
        names = list(session.config.features) if feature is None else [feature]
        for name in names:
            session.state(name)
        session.controller.demote(
            dict.fromkeys(names, (to, 0)), actor=resolve_actor(actor), why=why
        )
        for name in names:
            _print_state(session, name)


def _print_state(session: CutoverSession, feature: str) -> None:
    document, state = session.state(feature)
    hold_note = f" (held: {state.hold})" if state.hold else ""
    print(f"{feature}: {state.step_label}{hold_note}, epoch {document.epoch}")


def _status_table(session: CutoverSession) -> Table:
    columns = ("feature", "step", "new", "legacy", "bad", "compared", "p95", "next", "gate")
    table = Table(*columns, box=None)
    for name in session.config.features:
        _, state, evidence, reasons = session.check_gate(name)
        counters, total = evidence.counters, evidence.p95.get("total") or {}
        step = next_step(state)
        after = "-" if step is None else f"{step[0]} {step[1] / 100:g}%".removesuffix(" 0%")
        table.add_row(
            name,
            f"{state.step_label} (held)" if state.hold else state.step_label,
            str(counters.evaluated_new),
            str(counters.legacy.total()),
            str(counters.bad_new),
            str(counters.comparisons),
            " / ".join(_format_seconds(total.get(arm)) for arm in ("new", "legacy")),
            after,
            "open" if not reasons else "; ".join(reasons),
        )
    return table


def _format_seconds(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f} s"
