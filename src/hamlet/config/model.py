"""The configuration as data. Unknown keys are refused everywhere."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    SecretStr,
    field_validator,
    model_validator,
)
from pydantic.dataclasses import dataclass

from hamlet.config.cutover import CutoverConfig
from hamlet.config.strict import STRICT, StrictModel
from hamlet.core import ChatParams
from hamlet.core.extras import require_extra

# What a key's `routes` names to allow the main screen.
MAIN_SCREEN = "suggest"
# The length is checked separately: `\w` under a counted `{1,64}` compiles to six megabytes.
_NAME_PATTERN = r"^[\w.-]+$"
_SECONDS_PER_UNIT = {"s": 1.0, "sec": 1.0, "min": 60.0, "h": 3600.0, "hour": 3600.0}


def _parse_rate(value: object) -> object:
    match = re.fullmatch(r"(\d+)/(\w+)", value) if isinstance(value, str) else None
    if match is None or match[2] not in _SECONDS_PER_UNIT or int(match[1]) == 0:
        raise ValueError("a rate looks like 600/min (per s, min or h)")
    return int(match[1]), _SECONDS_PER_UNIT[match[2]]


Rate = Annotated[tuple[int, float], BeforeValidator(_parse_rate)]


def _check_redis_url(value: SecretStr | None) -> SecretStr | None:
    if value is None:
        return None
    try:
        url = urlsplit(value.get_secret_value())
        is_valid = url.path if url.scheme == "unix" else url.hostname and url.port != 0
    except ValueError:
        is_valid = False
    # The URL may hold a password: it is not repeated.
    if not is_valid or url.scheme not in ("redis", "rediss", "unix"):
        raise ValueError("a Redis URL looks like redis://host:6379/0, rediss:// or unix:///path")
    require_extra("redis", "redis", "Redis")
    return value


RedisUrl = Annotated[SecretStr | None, AfterValidator(_check_redis_url)]


def _check_otlp_url(value: str | None) -> str | None:
    if value is not None:
        require_extra("opentelemetry.sdk.trace", "otel", "OTLP export")
        require_extra("opentelemetry.exporter.otlp.proto.http", "otel", "OTLP export")
    return value


OtlpUrl = Annotated[str | None, AfterValidator(_check_otlp_url)]


class ServerConfig(StrictModel):
    """Where hamlet listens, and its own limits. Times are seconds."""

    host: str = "127.0.0.1"
    port: int = Field(default=8080, ge=0, le=65535)
    allow_public_without_keys: bool = False
    max_body_bytes: int = Field(default=20 << 20, ge=1024)
    max_in_flight: int = Field(default=1000, ge=1)
    header_wait_s: float = Field(default=8.0, gt=0)
    keepalive_s: float = Field(default=10.0, gt=0)
    request_head_s: float = Field(default=10.0, gt=0)
    request_body_s: float = Field(default=60.0, gt=0)
    reader_stall_s: float = Field(default=30.0, gt=0)
    drain_delay_s: float = Field(default=1.0, ge=0)
    drain_s: float = Field(default=30.0, ge=0)
    cors_origins: tuple[str, ...] = ()


class KeyConfig(StrictModel):
    """One API key: its value by reference, or the SHA-256 of it."""

    name: str = Field(pattern=_NAME_PATTERN, max_length=64)
    kind: Literal["secret", "publishable"] = "secret"
    secret: SecretStr | None = None
    hash: str | None = Field(default=None, pattern=r"^sha256:[0-9a-f]{64}$")
    routes: tuple[str, ...] | None = None
    rate: Rate | None = None
    origins: tuple[str, ...] = ()
    admin: bool = False
    weight: float = Field(default=1.0, gt=0)

    @model_validator(mode="after")
    def _check_secret_or_hash(self) -> KeyConfig:
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


@dataclass(frozen=True, slots=True, config=STRICT)
class Policy:
    """Retries, timeouts and failover of a route. Times are seconds.

    `idle_s` bounds the time between pieces of content, `byte_idle_s` that between any bytes; below
    `min_tokens_per_s` a stream is aborted. `hold_back` buffers the whole response before the caller
    gets any of it. `wait_share` is the part of the remaining time that a call may wait while all
    deployments are full, `retry_budget` how many retries each call earns for its route. A failover
    to a deployment whose own record is good takes none of them. `attempts` counts the tries that
    failed, `max_upstream_calls` whatever a call causes: attempts, moves on from a 429, repeats and
    hedges.
    """

    attempts: int = Field(default=3, ge=1, le=10)
    max_upstream_calls: int = Field(default=6, ge=1, le=20)
    first_token_s: float = Field(default=10.0, gt=0)
    idle_s: float = Field(default=20.0, gt=0)
    byte_idle_s: float = Field(default=60.0, gt=0)
    total_s: float = Field(default=120.0, gt=0)
    min_tokens_per_s: float | None = Field(default=None, gt=0)
    hold_back: bool = False
    hedge: bool = False
    wait_share: float = Field(default=0.2, ge=0, le=1)
    retry_budget: float = Field(default=0.2, ge=0, le=1)
    content_filter: Literal["stop", "failover"] = "stop"
    require_filter: bool = False
    backoff_base_s: float = Field(default=0.05, ge=0)
    backoff_max_s: float = Field(default=5.0, ge=0)
    failover: bool = True
    retry_first: Literal["other", "same"] = "other"
    unsupported: Literal["warn", "reject"] = "warn"


class DeploymentConfig(StrictModel):
    """One upstream model behind one provider, with its own settings.

    Capacity is either reserved (`ptu` units of `tpm_per_ptu` input tokens a minute, an output
    token counting `output_weight`) or a quota (`tpm` tokens and `rpm` requests a minute), or
    unknown. Deployments of one `quota_group` share a key's quota and credit, those of one `vendor`
    its outages; `local` marks the last resort. Azure publishes the figures per model:
    https://learn.microsoft.com/azure/ai-foundry/openai/how-to/provisioned-throughput-onboarding
    """

    provider: str
    model: str
    defaults: ChatParams = ChatParams()
    caps: ChatParams = ChatParams()
    weight: float = Field(default=1.0, gt=0)
    region: str | None = None
    data_zone: str | None = None
    ptu: int | None = Field(default=None, ge=1)
    tpm_per_ptu: int = Field(default=2500, ge=1)
    output_weight: float = Field(default=3.0, gt=0)
    tpm: int | None = Field(default=None, ge=1)
    rpm: int | None = Field(default=None, ge=1)
    quota_group: str | None = None
    vendor: str | None = None
    local: bool = False
    max_in_flight: int | None = Field(default=None, ge=1)
    card: dict[str, Any] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _check_capacity_kind(self) -> DeploymentConfig:
        if self.ptu and (self.tpm or self.rpm):
            raise ValueError("give ptu, or tpm and rpm, not both")
        return self


class RouteConfig(StrictModel):
    """A public model name: tiers of deployments, in order of preference.

    Plain `deployments` are one tier, or with `tiering: fleet` fall into five: reserved in the home
    region, reserved elsewhere, pay as you go, other vendors, local. `caps` bound the parameters
    of callers. `residency` names the regions or data zones that the route's data may go to.
    """

    operation: Literal["chat", "embeddings"] = "chat"
    tiers: tuple[tuple[DeploymentConfig, ...], ...] = ()
    deployments: tuple[DeploymentConfig, ...] = ()
    tiering: Literal["flat", "fleet"] = "flat"
    defaults: ChatParams = ChatParams()
    caps: ChatParams = ChatParams()
    criticality: Literal["critical", "sheddable"] = "critical"
    residency: frozenset[str] = frozenset()
    policy: Policy = Policy()

    @field_validator("tiers")
    @classmethod
    def _check_tiers_nonempty(
        cls, tiers: tuple[tuple[DeploymentConfig, ...], ...]
    ) -> tuple[tuple[DeploymentConfig, ...], ...]:
        if not all(tiers):
            raise ValueError("a tier is empty")
        return tiers

    @model_validator(mode="after")
    def _check_tiers_or_deployments(self) -> RouteConfig:
        if bool(self.tiers) == bool(self.deployments):
            raise ValueError("give exactly one of tiers and deployments")
        if self.tiers and self.tiering == "fleet":
            raise ValueError("tiering: fleet arranges plain deployments; these are in tiers")
        return self

    @property
    def all_tiers(self) -> tuple[tuple[DeploymentConfig, ...], ...]:
        """The tiers; plain `deployments` are one."""
        return self.tiers or (self.deployments,)


class FleetConfig(StrictModel):
    """Settings of all deployments. Times are seconds.

    `home` is the region hamlet runs in. `redis` is a reference to the URL of a Redis through which
    the processes of one `group` share their state. Deployments without traffic for `probe_idle_s`
    are probed: those with reserved capacity (where it costs nothing), all, or none.
    """

    home: str | None = None
    redis: RedisUrl = None
    group: str = Field(default="default", pattern=_NAME_PATTERN, max_length=64)
    probe: Literal["reserved", "all", "off"] = "reserved"
    probe_idle_s: float = Field(default=60.0, gt=0)


class PacksConfig(StrictModel):
    """Your own content: a folder that `hamlet catalogue` manages, and packs to leave out."""

    folder: Path | None = None
    off: tuple[str, ...] = ()


class SuggestConfig(StrictModel):
    """The main screen. Times are seconds.

    Without a `chip_route` no model writes chips; without `sources` the web is not searched; a
    source without a response after `hedge_after_s` is hedged by the next one (0: two at once).
    `embed` needs the extra of that name; `redis` is a reference to the URL of a shared cache;
    `explore` tries items out in the last chip slot; `demo` lets the page inject faults.
    """

    packs: PacksConfig = PacksConfig()
    embed: bool = False
    explore: bool = False
    demo: bool = False
    redis: RedisUrl = None

    sources: dict[str, ProviderConfig] = Field(default_factory=dict)
    hedge_after_s: float | None = Field(default=None, ge=0)
    links_fresh_s: float = Field(default=300.0, gt=0)
    links_stale_s: float = Field(default=86_400.0, gt=0)
    token_secret: SecretStr | None = None
    events_db: str = ":memory:"
    chip_route: str | None = None
    chips_fresh_s: float = Field(default=900.0, gt=0)
    chips_stale_s: float = Field(default=86_400.0, gt=0)


class TelemetryConfig(StrictModel):
    """Logs, metrics, traces.

    With `admin_port` health and metrics are served there, and metrics there alone. `usage_file`
    gets a line per call with its usage and cost. `otlp` is the URL of a collector's traces,
    which needs the extra `otel`; `sample` is the part of ordinary calls that are traced, 0 to 1.
    """

    admin_host: str = "127.0.0.1"
    admin_port: int | None = Field(default=None, ge=0, le=65535)
    usage_file: Path | None = None
    otlp: OtlpUrl = Field(default=None, pattern=r"^https?://")
    sample: float = Field(default=0.1, ge=0, le=1)

    log_level: Literal["debug", "info", "warning", "error"] = "info"
    log_format: Literal["json", "console"] = "json"


class GatewayConfig(StrictModel):
    """The whole file."""

    server: ServerConfig = ServerConfig()
    keys: tuple[KeyConfig, ...] = ()
    providers: dict[str, ProviderConfig] = Field(min_length=1)
    routes: dict[str, RouteConfig] = Field(min_length=1)
    fleet: FleetConfig = FleetConfig()
    suggest: SuggestConfig = SuggestConfig()
    telemetry: TelemetryConfig = TelemetryConfig()
    cutover: CutoverConfig | None = None

    @field_validator("keys")
    @classmethod
    def _check_unique_names(cls, keys: tuple[KeyConfig, ...]) -> tuple[KeyConfig, ...]:
        names = [key.name for key in keys]
        duplicates = sorted({name for name in names if names.count(name) > 1})
        if duplicates:
            raise ValueError(f"duplicate key name: {', '.join(duplicates)}")
        return keys
