"""How hamlet runs as processes: one server, or several under a supervisor that owns the socket."""

from hamlet.serving.server import DrainingServer, greet, run
from hamlet.serving.sockets import Lifeline, bind, inherited, notify
from hamlet.serving.supervisor import Supervisor, worker_command

__all__ = [
    "DrainingServer",
    "Lifeline",
    "Supervisor",
    "bind",
    "greet",
    "inherited",
    "notify",
    "run",
    "worker_command",
]
