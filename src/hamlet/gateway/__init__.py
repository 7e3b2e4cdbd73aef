"""The use case "call a model"."""

from hamlet.gateway.admission import Admission
from hamlet.gateway.call import Call, Caller
from hamlet.gateway.gateway import Gateway
from hamlet.gateway.observers import Attempt, Observer, Observers, Record
from hamlet.gateway.overload import Distress
from hamlet.gateway.probing import Prober
from hamlet.gateway.stream import ChatStream

__all__ = [
    "Admission",
    "Attempt",
    "Call",
    "Caller",
    "ChatStream",
    "Distress",
    "Gateway",
    "Observer",
    "Observers",
    "Prober",
    "Record",
]
