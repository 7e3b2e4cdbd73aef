"""What-if changes as text: `region=eastus:down`, `deployment=a/gpt-4o:slow=10@60-240`."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from hamlet.config import did_you_mean
from hamlet.simulator.faults import Fault
from hamlet.simulator.spec import SimulatedDeployment

_SCOPES: Mapping[str, Callable[[SimulatedDeployment], str]] = {
    "deployment": lambda spec: spec.id,
    "provider": lambda spec: spec.name,
    "model": lambda spec: spec.model,
    "region": lambda spec: spec.region,
    "zone": lambda spec: spec.zone,
}
_PATTERN = re.compile(r"(\w+)=(.+):(down|slow|fail)(?:=([\d.]+))?(?:@([\d.]+)-([\d.]*))?")
USAGE = (
    f"SCOPE=NAME:EFFECT, with SCOPE one of {', '.join(_SCOPES)}, EFFECT one of down, slow=FACTOR, "
    "fail=PERCENT, and optionally @FROM-TO in seconds"
)


def parse_what_ifs(texts: Iterable[str], specs: Sequence[SimulatedDeployment]) -> list[Fault]:
    """The faults of these changes. Raises ValueError with the accepted syntax or names."""
    return [_parse_fault(text, specs) for text in texts]


def _parse_fault(text: str, specs: Sequence[SimulatedDeployment]) -> Fault:
    match = _PATTERN.fullmatch(text)
    if match is None or match[1] not in _SCOPES:
        raise ValueError(f"{text!r} is no what-if: {USAGE}")
    scope, name, effect, number_text, begin, end = match.groups()
    from_s, to_s = _parse_number(text, begin or "0"), _parse_number(text, end) if end else math.inf
    if from_s >= to_s:
        raise ValueError(f"{text!r}: it must begin before it ends")
    return Fault(
        from_s=from_s,
        to_s=to_s,
        at=_matching_ids(text, scope, name, specs),
        **_effect_fields(text, effect, number_text),
    )


def _matching_ids(
    text: str, scope: str, name: str, specs: Sequence[SimulatedDeployment]
) -> tuple[str, ...]:
    """The ids of all deployments in the scope: a region may have the same name as a zone."""
    attribute_of = _SCOPES[scope]
    ids = tuple(spec.id for spec in specs if attribute_of(spec) == name)
    if ids:
        return ids
    known = sorted({attribute_of(spec) for spec in specs} - {""})
    choice = ", ".join(known) or "none is configured"
    raise ValueError(
        f"{text!r}: no {scope} {name!r}{did_you_mean(name, known)}; there is: {choice}"
    )


def _effect_fields(text: str, effect: str, number_text: str | None) -> dict[str, Any]:
    if (effect == "down") != (number_text is None):
        raise ValueError(f"{text!r} is no what-if: {USAGE}")
    if number_text is None:
        return {"kind": "refused"}
    number = _parse_number(text, number_text)
    if effect == "slow":
        if number < 1:
            raise ValueError(f"{text!r}: slow needs a factor of 1 or more")
        return {"kind": "slow", "factor": number}
    if not 0 < number <= 100:
        raise ValueError(f"{text!r}: fail needs percent, over 0 and up to 100")
    return {"kind": "status", "status": 500, "chance": number / 100}


def _parse_number(text: str, number_text: str) -> float:
    try:
        return float(number_text)
    except ValueError:
        raise ValueError(f"{text!r}: {number_text!r} is no number") from None
