"""Scenarios as data, read from scenarios.toml. Unknown keys are errors."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from loadtest import ROOT

SCENARIOS_FILE = ROOT / "loadtest/scenarios.toml"
Size = Literal["ci", "full"]


class _StrictModel(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class LoadStep(_StrictModel):
    """`seconds` of arrivals at `rate` per second, ramping to `to` if given; or `trace_s` seconds of a trace."""

    rate: float = Field(default=0.0, ge=0)
    to: float | None = None
    seconds: float = Field(default=0.0, ge=0)
    trace_s: float = Field(default=0.0, ge=0)

    @property
    def end_rate(self) -> float:
        return self.rate if self.to is None else self.to

    @property
    def length_s(self) -> float:
        return self.seconds or self.trace_s


class Check(_StrictModel):
    """A bound of a figure that the run has to keep."""

    figure: str
    at_most: float | None = None
    at_least: float | None = None
    full_only: bool = False

    @model_validator(mode="after")
    def _require_one_bound(self) -> Check:
        if (self.at_most is None) == (self.at_least is None):
            raise ValueError("give exactly one of at_most and at_least")
        return self

    @property
    def is_timing_dependent(self) -> bool:
        """Whether the figure depends on how fast the machine is during the run."""
        return self.figure.endswith(("_ms", "cpu_share", "_rpm", "_h"))

    def passes(self, value: float | None) -> bool:
        """Whether a figure is within the bound; an unknown one is not."""
        if value is None:
            return False
        return value <= self.at_most if self.at_most is not None else value >= (self.at_least or 0)


class ScheduledFault(_StrictModel):
    """A fault of the simulated vendors; `begin` and `end` are shares of the run's length.

    It affects a call with probability `chance`, in streams after `after` frames of content.
    """

    kind: str
    begin: float = Field(alias="from")
    end: float = Field(alias="to")
    at: tuple[str, ...] = ()
    status: int = 503
    retry_after: str | None = None
    factor: float = 10.0
    chance: float = Field(default=1.0, ge=0, le=1)
    after: int = 0
    up_s: float = 0.0
    down_s: float = 0.0


class Scenario(_StrictModel):
    """One load scenario: its arrivals, requests, faults and checks.

    `stream` and `leave` are the shares of requests that stream and whose client disconnects. After
    `first_content_s` seconds without content hamlet fails over to another deployment.
    """

    name: str
    about: str
    ci: tuple[LoadStep, ...]
    full: tuple[LoadStep, ...]
    checks: tuple[Check, ...]
    direct: bool = False
    stream: float = Field(default=0.8, ge=0, le=1)
    leave: float = Field(default=0.0, ge=0, le=1)
    output: int = Field(default=40, ge=1)
    prompt_bytes: int = Field(default=400, ge=1)
    instant: bool = False
    trace: str | None = None
    until_broken: bool = False
    first_content_s: float | None = None
    faults: tuple[ScheduledFault, ...] = ()

    def steps(self, size: Size) -> tuple[LoadStep, ...]:
        return self.ci if size == "ci" else self.full

    def with_length(self, minutes: float) -> Scenario:
        """The same with another length. Raises ValueError if the scenario has several steps."""
        if len(self.full) != 1:
            raise ValueError(f"{self.name} has steps of its own; its length cannot be chosen")
        step = self.full[0]
        length = "trace_s" if step.trace_s else "seconds"
        return self.model_copy(update={"full": (step.model_copy(update={length: minutes * 60}),)})

    def length_s(self, size: Size) -> float:
        """The length of the arrivals, in seconds."""
        return sum(step.length_s for step in self.steps(size))

    def checks_for(self, size: Size) -> tuple[Check, ...]:
        """The checks that apply to this size."""
        return tuple(check for check in self.checks if size == "full" or not check.full_only)


def load_scenarios(file: Path = SCENARIOS_FILE) -> dict[str, Scenario]:
    """All scenarios by name. Raises ValidationError."""
    rows: dict[str, Any] = tomllib.loads(file.read_text("utf-8"))
    return {name: Scenario.model_validate({"name": name, **row}) for name, row in rows.items()}
