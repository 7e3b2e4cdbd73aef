"""What hamlet tells of itself: metrics and logs. Implements the gateway's observers."""

from hamlet.telemetry.access import AccessLog
from hamlet.telemetry.cutover import CutoverMetrics
from hamlet.telemetry.logs import adopt_stdlib, make_log
from hamlet.telemetry.metrics import Metrics

__all__ = ["AccessLog", "CutoverMetrics", "Metrics", "adopt_stdlib", "make_log"]
