"""The configuration as data. Unknown keys are refused everywhere."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    SecretStr,
    field_validator,
    model_validator,
)

from hamlet.core import ChatParams

# What a key's `routes` names to allow the main screen.
MAIN_SCREEN = "suggest"
_SECONDS = {"s": 1.0, "sec": 1.0, "min": 60.0, "h": 3600.0, "hour": 3600.0}


class _Strict(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)


def _rate(value: object) -> object:
    match = re.fullmatch(r"(\d+)/(\w+)", value) if isinstance(value, str) else None
    if match is None or match[2] not in _SECONDS or int(match[1]) == 0:
        raise ValueError("a rate looks like 600/min (per s, min or h)")
    return int(match[1]), _SECONDS[match[2]]


Rate = Annotated[tuple[int, float], BeforeValidator(_rate)]


class ServerConfig(_Strict):
    """Where hamlet listens, and its own limits. Times are seconds."""

    host: str = "127.0.0.1"
    port: int = Field(default=8080, ge=0, le=65535)
    allow_public_without_keys: bool = False
    max_body_bytes: int = Field(default=20 << 20, ge=1024)
    max_in_flight: int = Field(default=1000, ge=1)
    header_wait_s: float = Field(default=8.0, gt=0)
    keepalive_s: float = Field(default=10.0, gt=0)
    drain_s: float = Field(default=30.0, ge=0)
    cors_origins: tuple[str, ...] = ()


class KeyConfig(_Strict):
    """One API key: its value by reference, or the SHA-256 of it."""

    name: str = Field(pattern=r"^[\w.-]{1,64}$")
    kind: Literal["secret", "publishable"] = "secret"
    secret: SecretStr | None = None
    hash: str | None = Field(default=None, pattern=r"^sha256:[0-9a-f]{64}$")
    routes: tuple[str, ...] | None = None
    rate: Rate | None = None
    origins: tuple[str, ...] = ()
    admin: bool = False

    @model_validator(mode="after")
    def _one_proof(self) -> KeyConfig:
        if (self.secret is None) == (self.hash is None):
            raise ValueError("give exactly one of secret and hash")
        if self.kind == "publishable" and self.admin:
            raise ValueError("a publishable key cannot be admin")
        return self


class ProviderConfig(BaseModel):
    """An account or endpoint: its kind, and the settings that the plugin itself validates."""

    model_config = ConfigDict(frozen=True, extra="allow", hide_input_in_errors=True)

    kind: str

    @property
    def settings(self) -> dict[str, Any]:
        """Everything but `kind`."""
        return dict(self.model_extra or {})


class Policy(_Strict):
    """How hard to try. Times are seconds."""

    attempts: int = Field(default=3, ge=1, le=10)
    first_token_s: float = Field(default=10.0, gt=0)
    idle_s: float = Field(default=20.0, gt=0)
    total_s: float = Field(default=120.0, gt=0)
    backoff_base_s: float = Field(default=0.05, ge=0)
    backoff_max_s: float = Field(default=5.0, ge=0)
    failover: bool = True
    retry_first: Literal["other", "same"] = "other"
    unsupported: Literal["warn", "reject"] = "warn"


class DeploymentConfig(_Strict):
    """One upstream model behind one provider, with what is special about it."""

    provider: str
    model: str
    defaults: ChatParams = ChatParams()
    caps: ChatParams = ChatParams()
    weight: float = Field(default=1.0, gt=0)
    region: str | None = None
    ptu: int | None = Field(default=None, ge=1)
    max_in_flight: int | None = Field(default=None, ge=1)
    card: dict[str, Any] = Field(default_factory=dict)


class RouteConfig(_Strict):
    """A public model name: tiers of deployments, in order of preference."""

    operation: Literal["chat", "embeddings"] = "chat"
    tiers: tuple[tuple[DeploymentConfig, ...], ...] = ()
    deployments: tuple[DeploymentConfig, ...] = ()
    defaults: ChatParams = ChatParams()
    policy: Policy = Policy()

    @field_validator("tiers")
    @classmethod
    def _no_empty_tier(
        cls, tiers: tuple[tuple[DeploymentConfig, ...], ...]
    ) -> tuple[tuple[DeploymentConfig, ...], ...]:
        if not all(tiers):
            raise ValueError("a tier is empty")
        return tiers

    @model_validator(mode="after")
    def _one_form(self) -> RouteConfig:
        if bool(self.tiers) == bool(self.deployments):
            raise ValueError("give exactly one of tiers and deployments")
        return self

    @property
    def all_tiers(self) -> tuple[tuple[DeploymentConfig, ...], ...]:
        """The tiers; plain `deployments` are one."""
        return self.tiers or (self.deployments,)


class PacksConfig(_Strict):
    """Content of your own: a folder that `hamlet catalogue` keeps, and packs not to show."""

    folder: Path | None = None
    off: tuple[str, ...] = ()


class SuggestConfig(_Strict):
    """The main screen. Seconds.

    Without a `chip_route` no model writes chips; without `sources` the web is not searched;
    `embed` needs the extra of that name; `redis` is a reference to the URL of a shared cache;
    `explore` tries items out in the last of the chips' slots; `demo` lets the page make trouble.
    """

    packs: PacksConfig = PacksConfig()
    embed: bool = False
    explore: bool = False
    demo: bool = False
    redis: SecretStr | None = None

    sources: dict[str, ProviderConfig] = Field(default_factory=dict)
    links_fresh_s: float = Field(default=300.0, gt=0)
    links_stale_s: float = Field(default=86_400.0, gt=0)
    token_secret: SecretStr | None = None
    events_db: str = ":memory:"
    chip_route: str | None = None
    chips_fresh_s: float = Field(default=900.0, gt=0)
    chips_stale_s: float = Field(default=86_400.0, gt=0)


class TelemetryConfig(_Strict):
    """Logs."""

    log_level: Literal["debug", "info", "warning", "error"] = "info"
    log_format: Literal["json", "console"] = "json"


class GatewayConfig(_Strict):
    """The whole file."""

    server: ServerConfig = ServerConfig()
    keys: tuple[KeyConfig, ...] = ()
    providers: dict[str, ProviderConfig] = Field(min_length=1)
    routes: dict[str, RouteConfig] = Field(min_length=1)
    suggest: SuggestConfig = SuggestConfig()
    telemetry: TelemetryConfig = TelemetryConfig()

    @field_validator("keys")
    @classmethod
    def _unique_names(cls, keys: tuple[KeyConfig, ...]) -> tuple[KeyConfig, ...]:
        names = [key.name for key in keys]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ValueError(f"duplicate key name: {', '.join(twice)}")
        return keys
