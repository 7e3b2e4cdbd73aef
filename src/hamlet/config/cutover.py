"""The migration from hamlet1: its address, the features that move, and the safeguards."""

from __future__ import annotations

from datetime import date
from pathlib import Path
from typing import Literal

from pydantic import Field, SecretStr, field_validator, model_validator

from hamlet.config.strict import StrictModel
from hamlet.core.extras import require_extra


class IgnoreConfig(StrictModel):
    """An intended difference, until `expires`. `path` is a JSON path in the response."""

    path: str = Field(min_length=1)
    owner: str = Field(min_length=1)
    reason: str = Field(min_length=1)
    expires: date


class FeatureConfig(StrictModel):
    """A group of paths that moves together.

    `paths` are exact, or prefixes ending in `*`. `key` names what keeps a user in one cohort, the
    first that is present: JSON fields of the body, or `header:NAME`. `content` says how the texts
    of two responses are compared: against the noise of hamlet1 itself, exactly, or not at all.
    """

    paths: tuple[str, ...] = Field(min_length=1)
    key: tuple[str, ...] = ("conversationId", "conversation_id", "userId", "user_id", "user")
    side_effects: bool = False
    content: Literal["noise", "exact", "off"] = "noise"
    rescue_after_s: float = Field(default=8.0, gt=0)
    ignore: tuple[IgnoreConfig, ...] = ()

    @field_validator("paths")
    @classmethod
    def _check_absolute_paths(cls, paths: tuple[str, ...]) -> tuple[str, ...]:
        if wrong := [path for path in paths if not path.startswith("/")]:
            raise ValueError(f"a path begins with a slash: {wrong[0]}")
        return paths


class PriceConfig(StrictModel):
    """What one arm's model costs, US dollars per million tokens."""

    input: float = Field(ge=0)
    output: float = Field(ge=0)


class PricesConfig(StrictModel):
    """The prices of both arms, to estimate costs from the token counts of responses."""

    legacy: PriceConfig
    new: PriceConfig


class ShadowConfig(StrictModel):
    """Limits of shadow requests. Percents are of a feature's requests.

    `reverse_percent` of what the new arm has served is sent to hamlet1 too, in the stage `new`.
    """

    noise_percent: float = Field(default=0.5, ge=0, le=100)
    reverse_percent: float = Field(default=0.0, ge=0, le=100)
    usd_per_hour: float | None = Field(default=None, gt=0)
    concurrent: int = Field(default=2, ge=1)  # shadow requests at the same time
    per_minute: int = Field(default=60, ge=1)
    deadline_s: float = Field(default=30.0, gt=0)
    max_bytes: int = Field(default=1 << 20, ge=1024)
    busy_ratio: float = Field(default=0.6, gt=0, le=1)


class GuardConfig(StrictModel):
    """Guardrails: when exposure is lowered or held. Counts, seconds and ratios."""

    hard_failures: int = Field(default=5, ge=1)
    hard_window_s: float = Field(default=10.0, gt=0)
    window_s: float = Field(default=300.0, gt=0)
    error_excess: float = Field(default=0.01, ge=0)
    error_least: int = Field(default=50, ge=1)
    slow_ratio: float = Field(default=1.5, ge=1)
    slow_excess_s: float = Field(default=0.5, ge=0)
    slow_least: int = Field(default=100, ge=1)
    quality_excess: float = Field(default=0.02, ge=0)
    quality_least: int = Field(default=100, ge=1)
    drift_excess: float = Field(default=0.05, ge=0)
    drift_least: int = Field(default=200, ge=1)
    cost_ratio: float = Field(default=1.3, ge=1)
    cost_least: int = Field(default=50, ge=1)
    loop_lag_s: float = Field(default=0.5, gt=0)


class GateConfig(StrictModel):
    """The evidence required before exposure is raised by one step."""

    minutes: float = Field(default=10.0, ge=0)
    requests: int = Field(default=300, ge=1)
    comparisons: int = Field(default=100, ge=1)
    cooldown_s: float = Field(default=1800.0, ge=0)
    skew_s: float = Field(default=5.0, gt=0)


class EdgeConfig(StrictModel):
    """The proxy in front: addresses as `host:port`, and the runtime file of a running Envoy."""

    listen: str = "0.0.0.0:8000"
    hamlet1: str = "hamlet1:3000"
    hamlet2: tuple[str, ...] = ("hamlet2:8080",)
    runtime: Path | None = None


class CutoverConfig(StrictModel):
    """The migration from hamlet1. `state` is the document with the stage of every feature.

    `chat_route` serves hamlet1's own chat path. `replicas` are the addresses of all replicas of
    hamlet, `prometheus` that of their Prometheus: both give evidence for raising exposure.
    """

    legacy_url: str = Field(pattern=r"^https?://[^/]+$")
    legacy_keepalive_s: float = Field(default=4.0, gt=0)
    legacy_timeout_s: float = Field(default=120.0, gt=0)
    state: Path
    redis: SecretStr | None = None
    salt: str = "hamlet"
    chat_route: str | None = None
    tester_key: SecretStr | None = None
    features: dict[str, FeatureConfig] = Field(min_length=1, max_length=8)
    prices: PricesConfig | None = None
    shadow: ShadowConfig = ShadowConfig()
    guard: GuardConfig = GuardConfig()
    gate: GateConfig = GateConfig()
    edge: EdgeConfig = EdgeConfig()
    replicas: tuple[str, ...] = ()
    prometheus: str | None = None

    @field_validator("legacy_url")
    @classmethod
    def _check_client_installed(cls, legacy_url: str) -> str:
        require_extra("aiohttp", "migration", "proxying hamlet1")
        return legacy_url

    @field_validator("redis")
    @classmethod
    def _check_redis_installed(cls, redis: SecretStr | None) -> SecretStr | None:
        if redis is not None:
            require_extra("redis", "redis", "Redis")
        return redis

    @field_validator("features")
    @classmethod
    def _check_feature_names(cls, features: dict[str, FeatureConfig]) -> dict[str, FeatureConfig]:
        if wrong := [name for name in features if not name.replace("_", "").isalnum()]:
            raise ValueError(f"a feature's name has letters, digits and _: {wrong[0]}")
        return features

    @model_validator(mode="after")
    def _check_prices_given(self) -> CutoverConfig:
        if self.shadow.usd_per_hour is not None and self.prices is None:
            raise ValueError("shadow.usd_per_hour needs prices")
        return self

    @model_validator(mode="after")
    def _check_paths_unique(self) -> CutoverConfig:
        paths = [path for feature in self.features.values() for path in feature.paths]
        if duplicates := sorted({path for path in paths if paths.count(path) > 1}):
            raise ValueError(f"features: a path belongs to one feature: {duplicates[0]}")
        return self
