"""The move from hamlet1 to hamlet, feature by feature, with a way back at every step."""

from hamlet.migration.feature import Feature, Features, Observer
from hamlet.migration.model import Arm, Cause, Document, Entry, FeatureState, Stage
from hamlet.migration.response import Answer
from hamlet.migration.rollout_controller import Board, StateConflict
from hamlet.migration.setup import open_store, settings
from hamlet.migration.shadow import Shadow
from hamlet.migration.store import FileStore, StateStore, StateUnreadable
from hamlet.migration.transitions import MoveRefused
from hamlet.migration.view import View
from hamlet.migration.watch import Watch

__all__ = [
    "Answer",
    "Arm",
    "Board",
    "Cause",
    "Document",
    "Entry",
    "Feature",
    "FeatureState",
    "Features",
    "FileStore",
    "MoveRefused",
    "Observer",
    "Shadow",
    "Stage",
    "StateConflict",
    "StateStore",
    "StateUnreadable",
    "View",
    "Watch",
    "open_store",
    "settings",
]
