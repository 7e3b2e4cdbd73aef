"""The moves that are allowed: up one step at a time, down any distance."""

from __future__ import annotations

from hamlet.migration.rollout_document import CANARY_STEPS_BP, STAGES, FeatureState, Stage


class TransitionRefused(Exception):
    """This move is not allowed from where the feature stands."""


def next_step(state: FeatureState) -> tuple[Stage, int] | None:
    """The stage and weight one step up, or None at the top."""
    if state.stage == "canary":
        for weight in CANARY_STEPS_BP:
            if weight > state.weight_bp:
                return "canary", weight
        return "new", 0
    if state.stage == "shadow":
        return "canary", CANARY_STEPS_BP[0]
    at = STAGES.index(state.stage)
    return (STAGES[at + 1], 0) if at + 1 < len(STAGES) else None


def previous_step(state: FeatureState) -> tuple[Stage, int]:
    """One step down; below the lowest canary is the proxy."""
    if state.stage in ("new", "retired"):
        return "canary", CANARY_STEPS_BP[-1]
    lower = [weight for weight in CANARY_STEPS_BP if weight < state.weight_bp]
    if state.stage == "canary" and lower:
        return "canary", lower[-1]
    return ("legacy", 0) if state.stage in ("proxy", "legacy") else ("proxy", 0)


def promote(state: FeatureState, now: float, epoch: int) -> FeatureState:
    """The state one step up. Raises MoveRefused while it is held or cools down."""
    if state.hold:
        raise TransitionRefused(f"it is held: {state.hold}")
    if state.cooldown_until > now:
        raise TransitionRefused(f"it cools down for another {state.cooldown_until - now:.0f} s")
    step = next_step(state)
    if step is None:
        raise TransitionRefused("there is nothing above retired")
    return _move_to(state, step, now, epoch)


def demote(
    state: FeatureState, to: tuple[Stage, int], now: float, epoch: int, cooldown_s: float = 0.0
) -> FeatureState:
    """The state at a lower place. Raises MoveRefused if the place is not lower."""
    placed = _move_to(state, to, now, epoch)
    if placed.exposure >= state.exposure:
        raise TransitionRefused(f"{placed.step_label} is not below {state.step_label}")
    until = max(state.cooldown_until, now + cooldown_s if cooldown_s else 0.0)
    return placed.model_copy(update={"cooldown_until": until})


def place_hold(state: FeatureState, why: str) -> FeatureState:
    """The state, not to be raised. What was counted so far goes on counting."""
    return state.model_copy(update={"hold": why})


def clear_hold(state: FeatureState, now: float, epoch: int) -> FeatureState:
    """The state without its hold and its cooling down; all is counted anew from here."""
    anew = {"since": now, "changed": epoch}
    return state.model_copy(update={"hold": None, "cooldown_until": 0.0, **anew})


def _move_to(state: FeatureState, to: tuple[Stage, int], now: float, epoch: int) -> FeatureState:
    place = {"stage": to[0], "weight_bp": to[1], "since": now, "changed": epoch}
    return state.model_copy(update=place)
