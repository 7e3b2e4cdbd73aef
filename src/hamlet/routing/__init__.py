"""Load balancing: what is known of each deployment, and which one gets the next attempt."""

from hamlet.routing.assembly import build_routing
from hamlet.routing.cost_estimate import CostEstimate
from hamlet.routing.deployment_state import DeploymentState
from hamlet.routing.explain import ExplainRow, explain_selection
from hamlet.routing.gossip.pending_updates import PendingUpdates
from hamlet.routing.gossip.probe_leases import ProbeLeases
from hamlet.routing.gossip.sync_task import SyncState, SyncTask
from hamlet.routing.load_balancer import LoadBalancer
from hamlet.routing.reservation import Reservation, RoomWait, Selection
from hamlet.routing.route_state import RouteState
from hamlet.routing.selection import SelectionContext

__all__ = [
    "CostEstimate",
    "DeploymentState",
    "ExplainRow",
    "LoadBalancer",
    "PendingUpdates",
    "ProbeLeases",
    "Reservation",
    "RoomWait",
    "RouteState",
    "Selection",
    "SelectionContext",
    "SyncState",
    "SyncTask",
    "build_routing",
    "explain_selection",
]
