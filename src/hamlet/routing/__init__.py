"""What is known of each deployment, and which one to ask next."""

from hamlet.routing.cost_estimate import Demand
from hamlet.routing.deployment_state import Condition
from hamlet.routing.explain import Row, explain
from hamlet.routing.gossip.sync_task import Sharing, State
from hamlet.routing.load_balancer import Booking, Choice, Fleet, News, Traffic, Wait
from hamlet.routing.selection import Look

__all__ = [
    "Booking",
    "Choice",
    "Condition",
    "Demand",
    "Fleet",
    "Look",
    "News",
    "Row",
    "Sharing",
    "State",
    "Traffic",
    "Wait",
    "explain",
]
