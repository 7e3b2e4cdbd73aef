"""Parses `host:port`."""

from __future__ import annotations


def split_host_port(address: str) -> tuple[str, int]:
    """Host and port; the port defaults to 80."""
    host, _, port = address.rpartition(":")
    return (host, int(port)) if host else (address, 80)
