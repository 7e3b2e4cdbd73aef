"""The move from hamlet1 to hamlet, feature by feature, with a way back at every step."""

from hamlet.migration.feature import FeatureRuntime, FeatureSet, MigrationObserver
from hamlet.migration.model import (
    Arm,
    FeatureState,
    JournalEntry,
    RolloutDocument,
    Stage,
    TransitionCause,
)
from hamlet.migration.response import CapturedResponse
from hamlet.migration.rollout_controller import RolloutController, StateConflict
from hamlet.migration.setup import open_store, resolve_config
from hamlet.migration.shadow import ShadowRunner
from hamlet.migration.store import FileStore, StateStore, StateUnavailable
from hamlet.migration.transitions import TransitionRefused
from hamlet.migration.view import LocalRolloutState
from hamlet.migration.watch import GuardrailMonitor

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
