"""Addresses that a host name must not resolve to, whoever controls its DNS."""

from __future__ import annotations

import ipaddress

# Where clouds serve credentials or machine data, besides link-local addresses.
_METADATA_ADDRESSES = {"168.63.129.16", "100.100.100.200", "fd00:ec2::254"}


def is_forbidden_address(address: str) -> bool:
    """Whether an address is link-local, a cloud's metadata service, multicast or unspecified.

    Private addresses are fine: Azure's private endpoints resolve public names to them.
    """
    ip = ipaddress.ip_address(address.partition("%")[0])
    if isinstance(ip, ipaddress.IPv6Address) and ip.ipv4_mapped:
        ip = ip.ipv4_mapped
    is_special = ip.is_link_local or ip.is_multicast or ip.is_unspecified
    return is_special or str(ip) in _METADATA_ADDRESSES
