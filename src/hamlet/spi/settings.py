"""Settings common to all providers; a plugin derives its own."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, SecretStr, field_validator

from hamlet.core.extras import require_extra

TransportName = Literal["httptools", "aiohttp"]


class ProviderSettings(BaseModel):
    """The address of an upstream and its connections. Times are seconds.

    A field of type SecretStr must be given in the config as `env:NAME` or `file:PATH`; the host
    resolves it. Keep secrets in such fields only: reprs and logs hide them.
    A connection serves no new request once it is `max_connection_age_s` old, less up to a
    quarter at random, so that a name that moves is followed. `transport` None leaves it to the
    host. `prewarm` connections are opened at start (httptools only). `ca_file` (PEM) replaces
    the system's certificate authorities. With `traceparent` the upstream gets the W3C header of
    the call's trace; by default no ids leave hamlet.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    base_url: str = ""
    api_key: SecretStr | None = None
    headers: dict[str, str] = Field(default_factory=dict)
    connect_timeout_s: float = Field(default=2.0, gt=0)
    idle_timeout_s: float = Field(default=60.0, gt=0)
    keepalive_s: float = Field(default=55.0, gt=0)
    max_connection_age_s: float = Field(default=60.0, gt=0)
    max_connections: int = Field(default=2000, ge=1)
    transport: TransportName | None = None
    prewarm: int = Field(default=0, ge=0, le=32)
    ca_file: str | None = None
    traceparent: bool = False

    @field_validator("transport")
    @classmethod
    def _check_transport_installed(cls, transport: TransportName | None) -> TransportName | None:
        if transport == "aiohttp":
            require_extra("aiohttp", "aiohttp", "the aiohttp transport")
        return transport

    def secret(self) -> str:
        """The key in clear, or "" if none is set."""
        return self.api_key.get_secret_value() if self.api_key else ""
