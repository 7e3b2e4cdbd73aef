"""Metrics, logs and traces: observers of the gateway."""

from hamlet.telemetry.access_log import AccessLog
from hamlet.telemetry.logs import make_log, redirect_stdlib_logging
from hamlet.telemetry.metrics import Metrics
from hamlet.telemetry.routing_metrics import RoutingMetrics

__all__ = [
    "AccessLog",
    "Metrics",
    "RoutingMetrics",
    "make_log",
    "redirect_stdlib_logging",
]
