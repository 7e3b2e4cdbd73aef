"""Host names to addresses, so that a name that hangs harms no other.

The loop's own `getaddrinfo` runs in a small pool of threads that all names share, and that a
process joins when it exits: a dozen names that do not resolve would stop every other look-up, and
the exit. Here each name has at most one look-up under way, on a daemon thread of its own, and the
last good answer serves while a resolver is silent or fails (RFC 8767, serving stale data).
"""

from __future__ import annotations

import asyncio
import ipaddress
import socket
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any, NamedTuple

# (family, type, protocol, canonical name, address), as getaddrinfo has it.
AddressInfo = tuple[socket.AddressFamily, socket.SocketKind, int, str, Any]
Lookup = Callable[[str, int], Sequence[AddressInfo]]

_FRESH_S = 5.0
# RFC 8767 section 5 suggests 1.8 s; a connect timeout is often 2 s in all.
_STALE_ANSWER_AFTER_S = 0.5
_MAX_STALE_S = 86_400.0
_MAX_NAMES, _MAX_LOOKUPS = 1_024, 256
# The name is known not to exist, or to have no address: that is an answer, and replaces the last.
_NO_SUCH_NAME = {socket.EAI_NONAME, getattr(socket, "EAI_NODATA", socket.EAI_NONAME)}

_local = threading.local()


class _Answer(NamedTuple):
    addresses: Sequence[AddressInfo]
    at: float


class Resolver:
    """The names of one event loop. `lookup` blocks; `clock` gives seconds."""

    def __init__(
        self, lookup: Lookup | None = None, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._lookup = lookup or _getaddrinfo
        self._clock = clock
        self._answers: OrderedDict[tuple[str, int], _Answer] = OrderedDict()
        self._lookups: dict[tuple[str, int], asyncio.Future[Sequence[AddressInfo]]] = {}

    async def resolve(self, host: str, port: int) -> Sequence[AddressInfo]:
        """The addresses of a name, as getaddrinfo gives them. Raises OSError, UnicodeError."""
        if _is_literal(host):
            return _getaddrinfo(host, port)
        name = (host, port)
        last = self._answers.get(name)
        age_s = self._clock() - last.at if last is not None else _MAX_STALE_S
        if last is not None and age_s < _FRESH_S:
            return last.addresses
        lookup = self._lookups.get(name) or self._start_lookup(name)
        if last is None or age_s >= _MAX_STALE_S:
            return await asyncio.shield(lookup)
        await asyncio.wait({lookup}, timeout=_STALE_ANSWER_AFTER_S)
        if not lookup.done():
            return last.addresses
        error = lookup.exception()
        if isinstance(error, socket.gaierror) and error.errno not in _NO_SUCH_NAME:
            return last.addresses
        return lookup.result()

    def _start_lookup(self, name: tuple[str, int]) -> asyncio.Future[Sequence[AddressInfo]]:
        if len(self._lookups) >= _MAX_LOOKUPS:
            raise socket.gaierror(socket.EAI_AGAIN, "too many names are being looked up")
        loop = asyncio.get_running_loop()
        future: asyncio.Future[Sequence[AddressInfo]] = loop.create_future()
        self._lookups[name] = future

        def run() -> None:
            found: Sequence[AddressInfo] | Exception
            try:
                found = self._lookup(*name)
            except Exception as error:
                found = error
            # The loop may be closed by now: then nobody waits.
            with suppress(RuntimeError):
                loop.call_soon_threadsafe(self._finish, name, found)

        threading.Thread(target=run, name=f"resolve {name[0]}", daemon=True).start()
        return future

    def _finish(self, name: tuple[str, int], found: Sequence[AddressInfo] | Exception) -> None:
        future = self._lookups.pop(name)
        if isinstance(found, Exception):
            if isinstance(found, socket.gaierror) and found.errno in _NO_SUCH_NAME:
                self._answers.pop(name, None)
            if not future.cancelled():
                future.set_exception(found)
                # Whoever waited may have gone: this marks the exception as seen.
                future.exception()
            return
        self._answers[name] = _Answer(found, self._clock())
        self._answers.move_to_end(name)
        if len(self._answers) > _MAX_NAMES:
            self._answers.popitem(last=False)
        if not future.cancelled():
            future.set_result(found)


def running_resolver() -> Resolver:
    """The resolver of the running loop."""
    loop = asyncio.get_running_loop()
    known: tuple[asyncio.AbstractEventLoop, Resolver] | None = getattr(_local, "resolver", None)
    if known is None or known[0] is not loop:
        known = _local.resolver = (loop, Resolver())
    return known[1]


def _getaddrinfo(host: str, port: int) -> Sequence[AddressInfo]:
    return socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)


def _is_literal(host: str) -> bool:
    try:
        ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return False
    return True
