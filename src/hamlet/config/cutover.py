"""The move from hamlet1 as data: where it is, which features move, and how carefully."""

from __future__ import annotations

from datetime import date
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, SecretStr, field_validator, model_validator

from hamlet.core.extras import require_extra


class _Strict(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)


class IgnoreConfig(_Strict):
    """A difference that is known and wanted, until a day. `path` is a JSON path of the answer."""

    path: str = Field(min_length=1)
    owner: str = Field(min_length=1)
    reason: str = Field(min_length=1)
    expires: date


class FeatureConfig(_Strict):
    """One thing that moves as a whole.

    `paths` are exact, or prefixes ending in `*`. `key` names what keeps a user in one cohort, the
    first that is there: JSON fields of the body, or `header:NAME`. `content` says how the words of
    two answers are compared: against the noise of hamlet1 itself, exactly, or not at all.
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


class PriceConfig(_Strict):
    """What one arm's model costs, US dollars per million tokens."""

    input: float = Field(ge=0)
    output: float = Field(ge=0)


class PricesConfig(_Strict):
    """The prices of both arms, to estimate by the tokens that answers tell of."""

    legacy: PriceConfig
    new: PriceConfig


class ShadowConfig(_Strict):
    """What trying an arm in the dark may cost. Percents are of a feature's requests.

    `reverse_percent` asks hamlet1 about what the new arm has answered, in the stage `new`.
    """

    noise_percent: float = Field(default=0.5, ge=0, le=100)
    reverse_percent: float = Field(default=0.0, ge=0, le=100)
    usd_per_hour: float | None = Field(default=None, gt=0)
    concurrent: int = Field(default=2, ge=1)
    per_minute: int = Field(default=60, ge=1)
    deadline_s: float = Field(default=30.0, gt=0)
    max_bytes: int = Field(default=1 << 20, ge=1024)
    busy_ratio: float = Field(default=0.6, gt=0, le=1)


class GuardConfig(_Strict):
    """When exposure is lowered or held. Counts, seconds and ratios."""

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


class GateConfig(_Strict):
    """What must be seen before exposure is raised by one step."""

    minutes: float = Field(default=10.0, ge=0)
    requests: int = Field(default=300, ge=1)
    comparisons: int = Field(default=100, ge=1)
    cooldown_s: float = Field(default=1800.0, ge=0)
    skew_s: float = Field(default=5.0, gt=0)


class EdgeConfig(_Strict):
    """What stands in front: addresses as `host:port`, and the file that steers a running Envoy."""

    listen: str = "0.0.0.0:8000"
    hamlet1: str = "hamlet1:3000"
    hamlet2: tuple[str, ...] = ("hamlet2:8080",)
    runtime: Path | None = None


class CutoverConfig(_Strict):
    """The move from hamlet1. `state` is the one document that says where every feature stands.

    `chat_route` answers hamlet1's own chat path. `replicas` are the addresses of all hamlets, and
    `prometheus` that of what watches them: evidence for raising exposure comes from there.
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
