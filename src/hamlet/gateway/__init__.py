"""The use case "call a model"."""

from hamlet.gateway.admission import Admission
from hamlet.gateway.call import Call, Caller
from hamlet.gateway.gateway import Gateway
from hamlet.gateway.observers import Attempt, CallRecord, Observer, Observers
from hamlet.gateway.overload import OverloadMonitor
from hamlet.gateway.prober import Prober
from hamlet.gateway.stream import ChatStream

__all__ = [
    "Admission",
    "Attempt",
    "Call",
    "CallRecord",
    "Caller",
    "ChatStream",
    "Gateway",
    "Observer",
    "Observers",
    "OverloadMonitor",
    "Prober",
]
