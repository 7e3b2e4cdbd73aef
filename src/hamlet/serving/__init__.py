"""Running hamlet: one server process, or several under a supervisor that owns the socket."""

from hamlet.serving.server import DrainingServer, run, startup_banner
from hamlet.serving.sockets import SupervisorChannel, bind, inherit_socket, notify_systemd
from hamlet.serving.supervisor import Supervisor, worker_command

__all__ = [
    "DrainingServer",
    "Supervisor",
    "SupervisorChannel",
    "bind",
    "inherit_socket",
    "notify_systemd",
    "run",
    "startup_banner",
    "worker_command",
]
