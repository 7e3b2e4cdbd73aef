"""The move from hamlet1 to hamlet, feature by feature, with a way back at every step."""

from hamlet.cutover.answer import Answer
from hamlet.cutover.board import Board, StateConflict
from hamlet.cutover.feature import Feature, Features, Observer
from hamlet.cutover.model import Arm, Cause, Document, Entry, FeatureState, Stage
from hamlet.cutover.moves import MoveRefused
from hamlet.cutover.setup import open_store, settings
from hamlet.cutover.shadow import Shadow
from hamlet.cutover.store import FileStore, StateStore, StateUnreadable
from hamlet.cutover.view import View
from hamlet.cutover.watch import Watch

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
