"""What hamlet tells of itself: metrics and logs. Implements the gateway's observers."""

from hamlet.telemetry.access import AccessLog
from hamlet.telemetry.logs import adopt_stdlib, make_log
from hamlet.telemetry.metrics import Metrics
from hamlet.telemetry.state import FleetState

__all__ = [
    "AccessLog",
    "FleetState",
    "Metrics",
    "adopt_stdlib",
    "make_log",
]
