"""Where every feature stands between hamlet1 and hamlet, as one document."""

from __future__ import annotations

from typing import Any, Literal, get_args

from pydantic import BaseModel, ConfigDict, Field

Stage = Literal["legacy", "proxy", "shadow", "canary", "new", "retired"]
Arm = Literal["legacy", "new"]
TransitionCause = Literal["operator", "guardrail", "autopilot"]

STAGES: tuple[Stage, ...] = get_args(Stage)
# Shares of the new arm, in hundredths of a percent.
CANARY_STEPS_BP = (100, 500, 2000, 5000)
FULL_SHARE_BP = 10_000


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class FeatureState(_Frozen):
    """One feature. `since` and `cooldown_until` are Unix seconds, `changed` an epoch."""

    stage: Stage = "legacy"
    weight_bp: int = Field(default=0, ge=0, le=FULL_SHARE_BP)
    shadow_percent: float = Field(default=5.0, ge=0, le=100)
    hold: str | None = None
    cooldown_until: float = 0.0
    since: float = 0.0
    changed: int = 0
    cause: TransitionCause = "operator"

    @property
    def exposure(self) -> tuple[int, int]:
        """What is compared to tell which of two states exposes fewer users to the new arm."""
        return STAGES.index(self.stage), self.share_bp

    @property
    def share_bp(self) -> int:
        """The share of requests that the new arm answers, of WHOLE."""
        if self.stage == "canary":
            return self.weight_bp
        return FULL_SHARE_BP if self.stage in ("new", "retired") else 0

    @property
    def step_label(self) -> str:
        """`canary 5%`"""
        return f"canary {self.weight_bp / 100:g}%" if self.stage == "canary" else self.stage

    @property
    def adopted(self) -> bool:
        """Whether the edge sends this feature to hamlet."""
        return self.stage != "legacy"


class RolloutDocument(_Frozen):
    """All features; `epoch` grows with every change, `written_at` is Unix seconds."""

    epoch: int = Field(default=0, ge=0)
    written_at: float = 0.0
    features: dict[str, FeatureState] = Field(default_factory=dict)

    def feature_state(self, feature: str) -> FeatureState:
        """The state of a feature; one that is not in the document is hamlet1's."""
        return self.features.get(feature, _DEFAULT_STATE)

    def with_feature_state(self, feature: str, state: FeatureState) -> RolloutDocument:
        """The document with another state of one feature."""
        return self.model_copy(update={"features": {**self.features, feature: state}})

    def to_json(self) -> str:
        """As it stands in the file: one order, one value a line, good to compare."""
        return self.model_dump_json(indent=2) + "\n"


class JournalEntry(_Frozen):
    """One line of the journal: who moved what, why, and on which evidence."""

    at: float
    epoch: int
    feature: str
    before: str
    after: str
    cause: TransitionCause
    actor: str
    why: str = ""
    evidence: dict[str, Any] = Field(default_factory=dict)
    config: str = ""


_DEFAULT_STATE = FeatureState()


def least_exposed(a: FeatureState, b: FeatureState) -> FeatureState:
    """The one of two states that exposes fewer users; a hold on either holds."""
    low = a if a.exposure <= b.exposure else b
    hold = low.hold or a.hold or b.hold
    until = max(a.cooldown_until, b.cooldown_until)
    return low.model_copy(update={"hold": hold, "cooldown_until": until})


def reconcile(known: RolloutDocument, received: RolloutDocument) -> RolloutDocument:
    """What to go by, having known one document and read another.

    A higher epoch is a decision; anything else that differs can only lower.
    """
    if received.epoch > known.epoch:
        return received
    if received == known:
        return known
    names = known.features.keys() | received.features.keys()
    features = {
        name: least_exposed(known.feature_state(name), received.feature_state(name))
        for name in sorted(names)
    }
    return known.model_copy(update={"features": features})
