"""What a transport reads of its provider's settings."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

MAX_BODY_BYTES = 64 << 20


class ClientSettings(Protocol):
    """Where an upstream is and how to connect to it. Times are seconds.

    `hamlet.spi.ProviderSettings` fulfils it and documents the fields.
    """

    @property
    def base_url(self) -> str: ...
    @property
    def headers(self) -> Mapping[str, str]: ...
    @property
    def connect_timeout_s(self) -> float: ...
    @property
    def idle_timeout_s(self) -> float: ...
    @property
    def keepalive_s(self) -> float: ...
    @property
    def max_connection_age_s(self) -> float: ...
    @property
    def max_connections(self) -> int: ...
    @property
    def prewarm(self) -> int: ...
    @property
    def ca_file(self) -> str | None: ...
    @property
    def traceparent(self) -> bool: ...
