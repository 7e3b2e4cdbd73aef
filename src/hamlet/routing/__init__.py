"""What is known of each deployment, and which one to ask next."""

from hamlet.routing.cost_estimate import CostEstimate
from hamlet.routing.deployment_state import DeploymentState
from hamlet.routing.explain import ExplainRow, explain_selection
from hamlet.routing.gossip.sync_task import SyncState, SyncTask
from hamlet.routing.load_balancer import (
    LoadBalancer,
    PendingUpdates,
    Reservation,
    RoomWait,
    RouteState,
    Selection,
)
from hamlet.routing.selection import SelectionContext

__all__ = [
    "CostEstimate",
    "DeploymentState",
    "ExplainRow",
    "LoadBalancer",
    "PendingUpdates",
    "Reservation",
    "RoomWait",
    "RouteState",
    "Selection",
    "SelectionContext",
    "SyncState",
    "SyncTask",
    "explain_selection",
]
