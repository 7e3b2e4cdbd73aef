"""Runs all checks: machine, configuration, vendors, clock, Redis."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from hamlet.config import ConfigError, load
from hamlet.doctor.calls import examine_calls
from hamlet.doctor.configuration import config_error_findings, examine_configuration
from hamlet.doctor.finding import Finding, Level
from hamlet.doctor.machine import examine_machine
from hamlet.doctor.recording_transport import RecordingPlugins
from hamlet.doctor.redis import examine_redis
from hamlet.registry import Registry
from hamlet.spi import Log

# Entra accepts tokens up to five minutes off; hamlet's replicas must agree within five seconds.
_MAX_SKEW_S, _FAILED_SKEW_S = 5.0, 240.0


async def examine(path: Path | None, log: Log, call_timeout_s: float = 20.0) -> list[Finding]:
    """All findings for a configuration file; without a path, for the built-in configuration.

    A vendor gets `call_timeout_s` seconds to respond.
    """
    try:
        loaded = load(path)
    except ConfigError as error:
        return [*examine_machine(1000), *config_error_findings(error)]
    findings = list(examine_machine(loaded.config.server.max_in_flight))
    plugins = RecordingPlugins()
    config_findings, registry = examine_configuration(loaded, log, plugins)
    findings += config_findings
    if registry is not None:
        try:
            findings += await examine_calls(registry, plugins, call_timeout_s)
        finally:
            await registry.aclose()
        findings.append(_check_clock(_collect_skews(registry, plugins)))
    return findings + await examine_redis(loaded.config)


def _collect_skews(registry: Registry, plugins: RecordingPlugins) -> list[float]:
    records = (plugins.record_of(handle.instance) for handle in registry.providers.values())
    return [skew for record in records for skew in record.skews]


def _check_clock(skews: Iterable[float]) -> Finding:
    sorted_skews = sorted(skews, key=abs)
    if not sorted_skews:
        return Finding("clock", "this machine", "skipped", "no vendor sent its time")
    # Vendors are not all wrong by the same amount: the smallest skew is this machine's.
    skew = sorted_skews[0]
    if abs(skew) <= _MAX_SKEW_S:
        return Finding("clock", "this machine", "ok", f"within {_MAX_SKEW_S:g} s of the vendors'")
    message = f"{abs(skew):.0f} s {'behind' if skew > 0 else 'ahead of'} the vendors' clocks"
    advice = "start time synchronisation: `timedatectl set-ntp true`, or chrony"
    level: Level = "failed" if abs(skew) > _FAILED_SKEW_S else "warning"
    return Finding("clock", "this machine", level, message, advice)
