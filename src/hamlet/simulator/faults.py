"""A schedule of faults: what fails, where and when. Random faults need a seeded generator."""

from __future__ import annotations

import math
import random
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

import msgspec

from hamlet.simulator.spec import SimulatedDeployment

FaultKind = Literal[
    "dead",  # the connection is accepted, then aborted
    "refused",  # no connection; over sockets the same as dead
    "silent",  # the request is read and never answered
    "status",  # an error answer: `status`, with `retry_after` as given
    "insufficient_quota",
    "content_filter",
    "overloaded",  # 503 or 529 by wire; inside a stream an error event with status 200
    "slow",  # `factor` times as slow
    "stall",  # the stream stops and stays open
    "pings",  # the same, but comments or pings continue
    "truncate",  # the HTTP response ends properly, but without the end of the stream
    "cut",  # the connection closes mid-response
    "reset",  # the connection is reset mid-response
    "garbage",  # an event, or a body, that is not JSON
    "html",  # an HTML page with status 200
    "empty",  # status 200 with an empty body
    "spillover",  # a full PTU deployment hands over to another, as Azure's spillover does
]
FAULT_KINDS: tuple[str, ...] = get_args(FaultKind)
MID_STREAM: tuple[FaultKind, ...] = (
    "stall", "pings", "truncate", "cut", "reset", "garbage", "overloaded",
)  # fmt: skip
STATUSES = (400, 401, 403, 404, 408, 409, 429, 500, 502, 503, 504, 520, 529, 599)


@dataclass(frozen=True, slots=True)
class Fault:
    """One fault, from `from_s` until `to_s` seconds after the schedule's start.

    It affects a request with probability `chance` where `at` has the deployment's id, name, model,
    region or zone; an empty `at` means all. Kinds in MID_STREAM occur after `after` frames of
    content (0: before any). `retry_after` and `retry_after_ms` are literal header values. With
    `up_s` and `down_s` the fault flaps: it is absent for `up_s` seconds, then active for `down_s`.
    """

    kind: FaultKind
    from_s: float = 0.0
    to_s: float = math.inf
    at: tuple[str, ...] = ()
    chance: float = 1.0
    after: int = 0
    status: int = 503
    retry_after: str | None = None
    retry_after_ms: str | None = None
    factor: float = 10.0
    up_s: float = 0.0
    down_s: float = 0.0

    def applies_to(self, spec: SimulatedDeployment) -> bool:
        """Whether `at` includes this deployment."""
        names = (spec.id, spec.name, spec.model, spec.region, spec.zone)
        return not self.at or any(name in self.at for name in names)

    def is_active(self, elapsed_s: float) -> bool:
        """Whether it is active `elapsed_s` seconds after the schedule's start."""
        if not self.from_s <= elapsed_s < self.to_s:
            return False
        if not self.down_s:
            return True
        return (elapsed_s - self.from_s) % (self.up_s + self.down_s) >= self.up_s


class FaultSchedule:
    """The active faults. They can be replaced at any time; their times count from then."""

    def __init__(self, faults: Iterable[Fault] = (), now: float = 0.0) -> None:
        self.replace(faults, now)

    def replace(self, faults: Iterable[Fault], now: float) -> None:
        """Use these faults and no others. `now` is the new start in seconds."""
        self.faults = tuple(faults)
        self._start = now

    def select(self, spec: SimulatedDeployment, now: float, rng: random.Random) -> list[Fault]:
        """The faults of one request: all "slow" ones drawn, and the first drawn of the others."""
        selected: list[Fault] = []
        has_exclusive = False
        for fault in self.faults:
            if not fault.applies_to(spec) or not fault.is_active(now - self._start):
                continue
            if fault.chance < 1 and rng.random() >= fault.chance:
                continue
            if fault.kind == "slow" or not has_exclusive:
                selected.append(fault)
                has_exclusive = has_exclusive or fault.kind not in ("slow", "spillover")
        return selected


def parse_faults(data: bytes | str) -> list[Fault]:
    """Faults from JSON: a list of objects with the fields of Fault. Raises ValueError."""
    try:
        faults = msgspec.json.decode(data, type=list[Fault])
    except msgspec.MsgspecError as error:
        raise ValueError(f"faults: {error}") from None
    return faults


def random_faults(
    rng: random.Random,
    specs: Sequence[SimulatedDeployment],
    duration_s: float,
    count: int = 6,
    kinds: Sequence[FaultKind] = get_args(FaultKind),
) -> list[Fault]:
    """`count` random faults of these kinds, each active for a part of `duration_s` seconds."""
    places = sorted({spec.id for spec in specs} | {spec.region for spec in specs if spec.region})
    return [_random_fault(rng, places, duration_s, kinds) for _ in range(count)]


def _random_fault(
    rng: random.Random, places: Sequence[str], duration_s: float, kinds: Sequence[FaultKind]
) -> Fault:
    start = rng.uniform(0, duration_s * 0.8)
    options: dict[str, Any] = {}
    if rng.random() < 0.2:
        options |= {"up_s": rng.uniform(1, 5), "down_s": rng.uniform(1, 5)}
    if rng.random() < 0.3:
        options["retry_after_ms"] = rng.choice(["50", "1500", "-1", "NaN", "inf", ""])
    return Fault(
        rng.choice(kinds),
        start,
        start + rng.uniform(0.05, 0.5) * duration_s,
        tuple(rng.sample(places, rng.randint(1, min(4, len(places))))),
        chance=rng.choice([0.05, 0.3, 1.0]),
        after=rng.choice([0, 0, 1, 3]),
        status=rng.choice(STATUSES),
        factor=rng.choice([2.0, 10.0, 50.0]),
        **options,
    )
