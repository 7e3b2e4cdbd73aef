"""What is known of each deployment, and which one to ask next."""

from hamlet.fleet.health import Health
from hamlet.fleet.select import order

__all__ = ["Health", "order"]
