"""Diagnoses why an upstream cannot be reached: DNS, TCP or TLS."""

from __future__ import annotations

import asyncio
import socket
import ssl
from contextlib import suppress
from urllib.parse import urlsplit

from hamlet.net.client.addresses import is_forbidden_address
from hamlet.net.client.tls import tls_context

Diagnosis = tuple[str, str]
"""A message and an advice."""
_DEFAULT_PORTS = {"https": 443, "redis": 6379, "rediss": 6379}


def host_and_port(url: str) -> str:
    """`host:port` of a URL, without user, password and path; the path of a Unix socket."""
    try:
        parts = urlsplit(url)
        if parts.scheme == "unix":
            return parts.path
        return f"{parts.hostname}:{parts.port or _DEFAULT_PORTS.get(parts.scheme, 80)}"
    except ValueError:
        return "a URL that cannot be read"


async def diagnose(url: str, ca_file: str | None, timeout_s: float) -> Diagnosis:
    """Try DNS, TCP and TLS in turn; report the first that fails, and what to do."""
    where = host_and_port(url)
    try:
        parts = urlsplit(url)
        host, secure = parts.hostname or "", parts.scheme == "https"
        port = parts.port or (443 if secure else 80)
    except ValueError:
        return where, "write base_url as https://host[:port]/path"
    step = "connect"
    try:
        async with asyncio.timeout(timeout_s):
            addresses = await _resolve_host(host, port)
            if all(is_forbidden_address(address) for address in addresses):
                message = f"DNS: {host} leads to a link-local or metadata address"
                return message, "hamlet never calls such an address; correct base_url or DNS"
            await _connect(host, port, None)
            if secure:
                step = "TLS"
                await _connect(host, port, tls_context(ca_file))
    except (OSError, UnicodeError) as error:
        return _explain_failure(error, host, where, step)
    return (
        f"{where} could be reached a moment later",
        "try again; if it fails again, check the network",
    )


async def _resolve_host(host: str, port: int) -> list[str]:
    found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return [str(info[4][0]) for info in found]


async def _connect(host: str, port: int, tls: ssl.SSLContext | None) -> None:
    _, writer = await asyncio.open_connection(host, port, ssl=tls)
    writer.close()
    with suppress(OSError):
        await writer.wait_closed()


def _explain_failure(error: OSError | UnicodeError, host: str, where: str, step: str) -> Diagnosis:
    if isinstance(error, socket.gaierror | UnicodeError):
        return f"DNS: the name {host} is not known", "check base_url's spelling, and the resolver"
    if isinstance(error, ssl.SSLCertVerificationError):
        message = f"TLS: {where} has a certificate that is not trusted: {error.verify_message}"
        return message, "set ca_file to your authority; if it says expired, check the clock"
    if isinstance(error, ssl.SSLError):
        message = f"TLS: {where} does not agree on TLS: {error.reason or 'no reason given'}"
        return message, "check the port, and whether base_url should begin with http://"
    if isinstance(error, TimeoutError) and step == "TLS":
        message = f"TLS: {where} accepts connections, but no TLS"
        return message, "check the port, and whether base_url should begin with http://"
    if isinstance(error, ConnectionRefusedError):
        return f"connect: nobody listens at {where}", "start it, or correct base_url's port"
    if isinstance(error, TimeoutError):
        message = f"connect: {where} does not answer"
        return (
            message,
            "most often a firewall or a missing route; raise connect_timeout_s if it is far",
        )
    message = f"{step}: {where}: {error.strerror or type(error).__name__}"
    return message, "check the network between this machine and the vendor"
