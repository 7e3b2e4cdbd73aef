"""Everything in order: the machine, the configuration, the vendors, their clocks, Redis."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from hamlet.config import ConfigError, load
from hamlet.doctor.calls import examine_calls
from hamlet.doctor.configuration import examine_configuration, problems_of
from hamlet.doctor.finding import Finding, Level
from hamlet.doctor.hearing import HearingPlugins
from hamlet.doctor.machine import examine_machine
from hamlet.doctor.redis import examine_redis
from hamlet.registry import Registry
from hamlet.spi import Log

# Entra's tokens allow five minutes; hamlet's own replicas must agree on five seconds.
_SKEW_S, _FAR_S = 5.0, 240.0


async def examine(path: Path | None, log: Log, limit_s: float = 20.0) -> list[Finding]:
    """All findings for a configuration file; the built-in one if there is none.

    A vendor gets `limit_s` seconds to answer.
    """
    try:
        loaded = load(path)
    except ConfigError as error:
        return [*examine_machine(1000), *problems_of(error)]
    found = list(examine_machine(loaded.config.server.max_in_flight))
    plugins = HearingPlugins()
    told, registry = examine_configuration(loaded, log, plugins)
    found += told
    if registry is not None:
        try:
            found += await examine_calls(registry, plugins, limit_s)
        finally:
            await registry.aclose()
        found.append(_clock(_skews(registry, plugins)))
    return found + await examine_redis(loaded.config)


def _skews(registry: Registry, plugins: HearingPlugins) -> list[float]:
    heard = (plugins.of(handle.instance) for handle in registry.providers.values())
    return [skew for one in heard for skew in one.skews]


def _clock(skews: Iterable[float]) -> Finding:
    told = sorted(skews, key=abs)
    if not told:
        return Finding("clock", "this machine", "skipped", "no vendor told the time")
    # Two vendors are not wrong alike: the smallest difference is ours.
    skew = told[0]
    if abs(skew) <= _SKEW_S:
        return Finding("clock", "this machine", "ok", f"within {_SKEW_S:g} s of the vendors'")
    message = f"{abs(skew):.0f} s {'behind' if skew > 0 else 'ahead of'} the vendors' clocks"
    advice = "start time synchronisation: `timedatectl set-ntp true`, or chrony"
    level: Level = "failed" if abs(skew) > _FAR_S else "warning"
    return Finding("clock", "this machine", level, message, advice)
