"""The move from hamlet1 to hamlet, feature by feature, with a way back at every step."""

from hamlet.migration.captured_response import CapturedResponse
from hamlet.migration.feature import FeatureRuntime, FeatureSet, MigrationObserver
from hamlet.migration.guardrail_monitor import GuardrailMonitor
from hamlet.migration.local_state import LocalRolloutState
from hamlet.migration.rollout_controller import RolloutController, StateConflict
from hamlet.migration.rollout_document import (
    Arm,
    FeatureState,
    JournalEntry,
    RolloutDocument,
    Stage,
    TransitionCause,
)
from hamlet.migration.setup import open_store, resolve_config
from hamlet.migration.shadow import ShadowRunner
from hamlet.migration.state_store import FileStore, StateStore, StateUnavailable
from hamlet.migration.transitions import TransitionRefused

__all__ = [
    "Arm",
    "CapturedResponse",
    "FeatureRuntime",
    "FeatureSet",
    "FeatureState",
    "FileStore",
    "GuardrailMonitor",
    "JournalEntry",
    "LocalRolloutState",
    "MigrationObserver",
    "RolloutController",
    "RolloutDocument",
    "ShadowRunner",
    "Stage",
    "StateConflict",
    "StateStore",
    "StateUnavailable",
    "TransitionCause",
    "TransitionRefused",
    "open_store",
    "resolve_config",
]
