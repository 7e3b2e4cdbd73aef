"""The listening socket, bound here or inherited; the channels to a supervisor and to systemd."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
from collections.abc import Mapping

# https://www.freedesktop.org/software/systemd/man/latest/sd_listen_fds.html
_LISTEN_FDS_START = 3


def bind(host: str, port: int, backlog: int = 2048) -> socket.socket:
    """A socket that is listening, so that no connection is refused from now on. Raises OSError."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    sock = socket.socket(family, socket.SOCK_STREAM)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        sock.bind((host, port))
        sock.listen(backlog)
    except OSError:
        sock.close()
        raise
    sock.setblocking(False)
    return sock


def inherit_socket(environment: Mapping[str, str], fd: int | None = None) -> socket.socket | None:
    """The socket inherited as `fd` or by systemd's socket activation; None without one."""
    if fd is None:
        is_for_us = environment.get("LISTEN_PID") == str(os.getpid())
        if not is_for_us or environment.get("LISTEN_FDS", "0") == "0":
            return None
        fd = _LISTEN_FDS_START
    sock = socket.socket(fileno=fd)
    sock.setblocking(False)
    return sock


def notify_systemd(environment: Mapping[str, str], text: str) -> None:
    """Notify systemd, if it asks for that, of `READY=1` or `STOPPING=1`."""
    address = environment.get("NOTIFY_SOCKET")
    if not address:
        return
    # A leading @ is the abstract namespace's NUL.
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.sendto(text.encode(), "\0" + address[1:] if address[0] == "@" else address)


class SupervisorChannel:
    """A worker's end of its socket pair with the supervisor."""

    def __init__(self, fd: int) -> None:
        self._sock = socket.socket(fileno=fd)
        self._sock.setblocking(False)

    def report_ready(self) -> None:
        """Report that this worker serves; from now on, drain if the supervisor exits."""
        self._sock.send(b"1")
        asyncio.get_running_loop().add_reader(self._sock, self._on_supervisor_lost)

    def _on_supervisor_lost(self) -> None:
        asyncio.get_running_loop().remove_reader(self._sock)
        os.kill(os.getpid(), signal.SIGTERM)
