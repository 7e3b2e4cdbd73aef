"""The commands that take a while: the autopilot, and probing the edge."""

from __future__ import annotations

import time
import urllib.error
import urllib.request
from typing import Annotated

import typer

from hamlet.migration.cli.session import (
    DEFAULT_CONFIG,
    Actor,
    ConfigFile,
    CutoverSession,
    FeatureName,
    exit_with_error,
    open_session,
    resolve_actor,
)
from hamlet.migration.rollout_controller import StateConflict
from hamlet.migration.rollout_document import FULL_SHARE_BP, FeatureState, Stage
from hamlet.migration.state_store import StateUnavailable
from hamlet.migration.transitions import TransitionRefused, next_step

_PROBE_COUNT = 200
_TIMEOUT_S = 5.0


def autopilot(
    feature: FeatureName,
    plan: Annotated[str, typer.Option(help="The percentages to step through")] = "1,5,20,50,100",
    every_s: Annotated[float, typer.Option(help="Seconds between checks of the gate")] = 5.0,
    actor: Actor = "",
    config: ConfigFile = DEFAULT_CONFIG,
) -> None:
    """Promote a feature step by step whenever its gate opens; Ctrl-C holds it.

    Ends at the plan's last step. A gate opens once enough requests were served, however long that
    takes.
    """
    steps = _parse_plan(plan)
    with open_session(config) as session:
        try:
            _run_autopilot(session, feature, steps, every_s, resolve_actor(actor))
        except KeyboardInterrupt:
            session.controller.hold(
                feature, actor=resolve_actor(actor), why="the autopilot was interrupted"
            )
            print(f"{feature}: held")


def _run_autopilot(
    session: CutoverSession, feature: str, plan: list[tuple[Stage, int]], every_s: float, actor: str
) -> None:
    last_reported = ""
    while True:
        try:
            _, state, evidence, reasons = session.check_gate(feature)
        except StateUnavailable as error:
            print(f"{feature}: waits: {error}", flush=True)
            time.sleep(every_s)
            continue
        step = next_step(state)
        if step is None or _step_exposure(step) > _step_exposure(plan[-1]):
            print(f"{feature}: {state.step_label}: the plan is done", flush=True)
            return
        if state.hold or state.cooldown_until > time.time():
            # A person or a guardrail has intervened: the autopilot must not override that.
            exit_with_error(f"{feature} stays at {state.step_label}: {'; '.join(reasons)}", 3)
        if not reasons:
            try:
                session.controller.promote(
                    feature,
                    expected=state,
                    actor=actor,
                    cause="autopilot",
                    evidence=evidence.to_dict(),
                )
                after = FeatureState(stage=step[0], weight_bp=step[1]).step_label
                print(f"{feature}: {state.step_label} -> {after}", flush=True)
            except (StateConflict, TransitionRefused) as error:
                print(f"{feature}: {error}", flush=True)
        elif (blockers := "; ".join(reasons)) != last_reported:
            print(f"{feature}: {state.step_label}: waits: {blockers}", flush=True)
            last_reported = blockers
        time.sleep(every_s)


def verify(
    edge: Annotated[str, typer.Option(help="The edge's URL, http://HOST:PORT")],
    config: ConfigFile = DEFAULT_CONFIG,
) -> None:
    """Check through the edge which arm users get; status 1 if that differs from the state."""
    with open_session(config) as session:
        key = session.config.tester_key
        if key is None:
            exit_with_error("cutover.tester_key is needed for this")
            return
        wrong = 0
        for name, row in session.config.features.items():
            _, state = session.state(name)
            path = row.paths[0].removesuffix("*")
            count = _PROBE_COUNT if state.share_bp not in (0, FULL_SHARE_BP) else 5
            arms = [
                _probe_arm(edge + path, key.get_secret_value(), f"probe-{i}") for i in range(count)
            ]
            verdict = _check_split(state, arms)
            wrong += verdict is not None
            shown = f"{arms.count('new')} of {len(arms)} new" if any(arms) else "hamlet1"
            print(f"{name}: {state.step_label}: {shown}{': ' + verdict if verdict else ''}")
        if wrong:
            raise typer.Exit(1)


def _check_split(state: FeatureState, arms: list[str | None]) -> str | None:
    """What is wrong with the probed arms, if anything. An arm of None is a response of hamlet1."""
    if not state.adopted or state.stage == "retired":
        wrong = any(arms) if not state.adopted else False
        return "WRONG: the edge sends it to hamlet" if wrong else None
    if not all(arms):
        return "WRONG: the edge does not send it to hamlet"
    share, observed = state.share_bp / FULL_SHARE_BP, arms.count("new") / len(arms)
    # Four standard deviations of the binomial distribution.
    band = 4 * (share * (1 - share) / len(arms)) ** 0.5
    return (
        None if abs(observed - share) <= band else f"WRONG: {observed:.0%} instead of {share:.0%}"
    )


def _probe_arm(url: str, key: str, user: str) -> str | None:
    """The arm that a user would get; None if the response is not hamlet's."""
    headers = {"x-hamlet-tester": key, "x-hamlet-probe": user}
    request = urllib.request.Request(url, headers=headers, method="GET")  # noqa: S310
    try:
        with urllib.request.urlopen(request, timeout=_TIMEOUT_S) as response:  # noqa: S310
            arm: str | None = response.headers.get("x-hamlet-arm")
            return arm
    except urllib.error.HTTPError:
        return None
    except OSError as error:
        exit_with_error(f"{url} does not answer: {type(error).__name__}")
        return None


def _parse_plan(text: str) -> list[tuple[Stage, int]]:
    try:
        percents = [float(word) for word in text.split(",")]
    except ValueError:
        percents = []
    if not percents or percents != sorted(percents) or not 0 < percents[-1] <= 100:
        exit_with_error("a plan is a list of growing percentages, such as 1,5,20,50,100")
    return [("new", 0) if p == 100 else ("canary", round(p * 100)) for p in percents]


def _step_exposure(step: tuple[Stage, int]) -> tuple[int, int]:
    return FeatureState(stage=step[0], weight_bp=step[1]).exposure
