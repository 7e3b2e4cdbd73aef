"""What-ifs in a line of text: `region=eastus:down`, `deployment=a/gpt-4o:slow=10@60-240`."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from hamlet.config import suggestion
from hamlet.simulator.faults import Fault
from hamlet.simulator.spec import Simulated

_SCOPES: Mapping[str, Callable[[Simulated], str]] = {
    "deployment": lambda spec: spec.id,
    "provider": lambda spec: spec.name,
    "model": lambda spec: spec.model,
    "region": lambda spec: spec.region,
    "zone": lambda spec: spec.zone,
}
_FORM = re.compile(r"(\w+)=(.+):(down|slow|fail)(?:=([\d.]+))?(?:@([\d.]+)-([\d.]*))?")
USAGE = (
    f"SCOPE=NAME:EFFECT, with SCOPE one of {', '.join(_SCOPES)}, EFFECT one of down, slow=FACTOR, "
    "fail=PERCENT, and perhaps @FROM-TO in seconds"
)


def what_if(texts: Iterable[str], specs: Sequence[Simulated]) -> list[Fault]:
    """The faults that these lines mean. Raises ValueError that says what could stand there."""
    return [_fault(text, specs) for text in texts]


def _fault(text: str, specs: Sequence[Simulated]) -> Fault:
    form = _FORM.fullmatch(text)
    if form is None or form[1] not in _SCOPES:
        raise ValueError(f"{text!r} is no what-if: {USAGE}")
    scope, name, effect, figure, begin, end = form.groups()
    from_s, to_s = _number(text, begin or "0"), _number(text, end) if end else math.inf
    if from_s >= to_s:
        raise ValueError(f"{text!r}: it must begin before it ends")
    return Fault(
        from_s=from_s,
        to_s=to_s,
        at=_places(text, scope, name, specs),
        **_effect(text, effect, figure),
    )


def _places(text: str, scope: str, name: str, specs: Sequence[Simulated]) -> tuple[str, ...]:
    """The ids of all that are meant: a region may be called like another's zone."""
    of = _SCOPES[scope]
    places = tuple(spec.id for spec in specs if of(spec) == name)
    if places:
        return places
    known = sorted({of(spec) for spec in specs} - {""})
    choice = ", ".join(known) or "none is configured"
    raise ValueError(f"{text!r}: no {scope} {name!r}{suggestion(name, known)}; there is: {choice}")


def _effect(text: str, effect: str, figure: str | None) -> dict[str, Any]:
    if (effect == "down") != (figure is None):
        raise ValueError(f"{text!r} is no what-if: {USAGE}")
    if figure is None:
        return {"kind": "refused"}
    number = _number(text, figure)
    if effect == "slow":
        if number < 1:
            raise ValueError(f"{text!r}: slow needs a factor of 1 or more")
        return {"kind": "slow", "factor": number}
    if not 0 < number <= 100:
        raise ValueError(f"{text!r}: fail needs percent, over 0 and up to 100")
    return {"kind": "status", "status": 500, "chance": number / 100}


def _number(text: str, figure: str) -> float:
    try:
        return float(figure)
    except ValueError:
        raise ValueError(f"{text!r}: {figure!r} is no number") from None
