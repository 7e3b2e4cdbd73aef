"""What is known of each deployment, and which one to ask next."""

from hamlet.fleet.condition import Condition
from hamlet.fleet.demand import Demand
from hamlet.fleet.explain import Row, explain
from hamlet.fleet.fleet import Booking, Choice, Fleet, News, Traffic, Wait
from hamlet.fleet.select import Look
from hamlet.fleet.sharing import Sharing, State

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
