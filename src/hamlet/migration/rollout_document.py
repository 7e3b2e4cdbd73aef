"""The rollout state: the stage of every feature between hamlet1 and hamlet, as one document."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, get_args

from pydantic import BaseModel, ConfigDict, Field

Stage = Literal["legacy", "proxy", "shadow", "canary", "new", "retired"]
Arm = Literal["legacy", "new"]
TransitionCause = Literal["operator", "guardrail", "autopilot"]

STAGES: tuple[Stage, ...] = get_args(Stage)
# The new arm's shares at the canary's steps, in hundredths of a percent.
CANARY_STEPS_BP = (100, 500, 2000, 5000)
FULL_SHARE_BP = 10_000


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class FeatureState(_Frozen):
    """The state of one feature.

    `since` and `cooldown_until` are Unix seconds; evidence counts from the epoch `changed`.
    """

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
        """Orders states by how many users they expose to the new arm."""
        return STAGES.index(self.stage), self.share_bp

    @property
    def share_bp(self) -> int:
        """The share of requests that the new arm serves, 0 to FULL_SHARE_BP."""
        if self.stage == "canary":
            return self.weight_bp
        return FULL_SHARE_BP if self.stage in ("new", "retired") else 0

    @property
    def step_label(self) -> str:
        """The stage, with the share of a canary: `canary 5%`."""
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
        """The state of a feature; one that is not in the document is at `legacy`."""
        return self.features.get(feature, _DEFAULT_STATE)

    def with_feature_state(self, feature: str, state: FeatureState) -> RolloutDocument:
        """A copy with another state of one feature."""
        return self.model_copy(update={"features": {**self.features, feature: state}})

    def advance_epoch(self, entries: Sequence[JournalEntry], written_at: float) -> RolloutDocument:
        """A copy with the epoch of the entries that describe its change; unchanged without any."""
        epoch = max((entry.epoch for entry in entries), default=self.epoch)
        return self.model_copy(update={"epoch": epoch, "written_at": written_at})

    def to_json(self) -> str:
        """Indented JSON in a fixed order, so that two versions can be compared by line."""
        return self.model_dump_json(indent=2) + "\n"


class JournalEntry(_Frozen):
    """One line of the journal: who changed what, why, and on which evidence.

    `at` is Unix seconds; `before` and `after` are step labels; `config` identifies the `cutover`
    section in force.
    """

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
    """The state that exposes fewer users, with the holds and cooldowns of both."""
    low = a if a.exposure <= b.exposure else b
    hold = low.hold or a.hold or b.hold
    until = max(a.cooldown_until, b.cooldown_until)
    return low.model_copy(update={"hold": hold, "cooldown_until": until})


def reconcile(known: RolloutDocument, received: RolloutDocument) -> RolloutDocument:
    """The document to act on, given the one in use and one just read.

    A higher epoch is an operator's decision and wins; any other difference can only lower exposure.
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
