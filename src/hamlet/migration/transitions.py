"""The allowed transitions: up by one step at a time, down by any distance."""

from __future__ import annotations

from hamlet.migration.rollout_document import CANARY_STEPS_BP, STAGES, FeatureState, Stage


class TransitionRefused(Exception):
    """The transition is not allowed from the feature's current state."""


def next_step(state: FeatureState) -> tuple[Stage, int] | None:
    """The stage and share (hundredths of a percent) one step up, or None at the top."""
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
    """The stage and share one step down; below the lowest canary is the proxy."""
    if state.stage in ("new", "retired"):
        return "canary", CANARY_STEPS_BP[-1]
    lower = [weight for weight in CANARY_STEPS_BP if weight < state.weight_bp]
    if state.stage == "canary" and lower:
        return "canary", lower[-1]
    return ("legacy", 0) if state.stage in ("proxy", "legacy") else ("proxy", 0)


def promote(state: FeatureState, now: float, epoch: int) -> FeatureState:
    """The state one step up. Raises TransitionRefused while it is held or cooling down."""
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
    """The state lowered to `to`. Raises TransitionRefused if `to` is not lower."""
    lowered = _move_to(state, to, now, epoch)
    if lowered.exposure >= state.exposure:
        raise TransitionRefused(f"{lowered.step_label} is not below {state.step_label}")
    until = max(state.cooldown_until, now + cooldown_s if cooldown_s else 0.0)
    return lowered.model_copy(update={"cooldown_until": until})


def place_hold(state: FeatureState, why: str) -> FeatureState:
    """The state with promotions blocked. Evidence goes on counting from the same epoch."""
    return state.model_copy(update={"hold": why})


def clear_hold(state: FeatureState, now: float, epoch: int) -> FeatureState:
    """The state without hold and cooldown. Evidence counts anew from `epoch`."""
    restart = {"since": now, "changed": epoch}
    return state.model_copy(update={"hold": None, "cooldown_until": 0.0, **restart})


def _move_to(state: FeatureState, to: tuple[Stage, int], now: float, epoch: int) -> FeatureState:
    target = {"stage": to[0], "weight_bp": to[1], "since": now, "changed": epoch}
    return state.model_copy(update=target)
