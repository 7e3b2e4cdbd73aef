"""`host:port`, taken apart."""

from __future__ import annotations


def split_host_port(address: str) -> tuple[str, int]:
    """Host and port; a host without a port has 80."""
    host, _, port = address.rpartition(":")
    return (host, int(port)) if host else (address, 80)
