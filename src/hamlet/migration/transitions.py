"""The moves that are allowed: up one step at a time, down any distance."""

from __future__ import annotations

from hamlet.migration.model import LADDER, STAGES, FeatureState, Stage


class MoveRefused(Exception):
    """This move is not allowed from where the feature stands."""


def next_step(state: FeatureState) -> tuple[Stage, int] | None:
    """The stage and weight one step up, or None at the top."""
    if state.stage == "canary":
        for weight in LADDER:
            if weight > state.weight_bp:
                return "canary", weight
        return "new", 0
    if state.stage == "shadow":
        return "canary", LADDER[0]
    at = STAGES.index(state.stage)
    return (STAGES[at + 1], 0) if at + 1 < len(STAGES) else None


def step_down(state: FeatureState) -> tuple[Stage, int]:
    """One step down; below the lowest canary is the proxy."""
    if state.stage in ("new", "retired"):
        return "canary", LADDER[-1]
    lower = [weight for weight in LADDER if weight < state.weight_bp]
    if state.stage == "canary" and lower:
        return "canary", lower[-1]
    return ("legacy", 0) if state.stage in ("proxy", "legacy") else ("proxy", 0)


def raised(state: FeatureState, now: float, epoch: int) -> FeatureState:
    """The state one step up. Raises MoveRefused while it is held or cools down."""
    if state.hold:
        raise MoveRefused(f"it is held: {state.hold}")
    if state.cooldown_until > now:
        raise MoveRefused(f"it cools down for another {state.cooldown_until - now:.0f} s")
    step = next_step(state)
    if step is None:
        raise MoveRefused("there is nothing above retired")
    return _at(state, step, now, epoch)


def lowered(
    state: FeatureState, to: tuple[Stage, int], now: float, epoch: int, cooldown_s: float = 0.0
) -> FeatureState:
    """The state at a lower place. Raises MoveRefused if the place is not lower."""
    placed = _at(state, to, now, epoch)
    if placed.exposure >= state.exposure:
        raise MoveRefused(f"{placed.step} is not below {state.step}")
    until = max(state.cooldown_until, now + cooldown_s if cooldown_s else 0.0)
    return placed.model_copy(update={"cooldown_until": until})


def held(state: FeatureState, why: str) -> FeatureState:
    """The state, not to be raised. What was counted so far goes on counting."""
    return state.model_copy(update={"hold": why})


def released(state: FeatureState, now: float, epoch: int) -> FeatureState:
    """The state without its hold and its cooling down; all is counted anew from here."""
    anew = {"since": now, "changed": epoch}
    return state.model_copy(update={"hold": None, "cooldown_until": 0.0, **anew})


def _at(state: FeatureState, to: tuple[Stage, int], now: float, epoch: int) -> FeatureState:
    place = {"stage": to[0], "weight_bp": to[1], "since": now, "changed": epoch}
    return state.model_copy(update=place)
