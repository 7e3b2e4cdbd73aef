"""Checks the machine and its Python."""

from __future__ import annotations

import platform
from collections.abc import Iterator
from importlib.util import find_spec

from hamlet.doctor.finding import Finding, Level

# A call holds two connections, the client's and the vendor's; the rest is for logs and libraries.
_FILES_PER_CALL, _OTHER_FILES = 2, 256


def examine_machine(max_in_flight: int) -> Iterator[Finding]:
    """Check Python, its event loop, and the limit of open files."""
    yield _check_python()
    yield _check_event_loop()
    yield _check_open_files(max_in_flight)


def _check_python() -> Finding:
    # Always ok: an older Python could not have imported this package.
    version = f"{platform.python_implementation()} {platform.python_version()}"
    return Finding("python", "interpreter", "ok", version)


def _check_event_loop() -> Finding:
    if find_spec("uvloop"):
        return Finding("python", "uvloop", "ok", "installed")
    advice = "pip install uvloop: the loop that hamlet is measured with"
    return Finding("python", "uvloop", "warning", "not installed: calls cost more CPU", advice)


def _check_open_files(max_in_flight: int) -> Finding:
    try:
        import resource
    except ImportError:
        return Finding("files", "open files", "skipped", "this system has no such limit")
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    needed = _FILES_PER_CALL * max_in_flight + _OTHER_FILES
    limit = f"{'no limit' if soft == resource.RLIM_INFINITY else soft} may be open"
    if soft == resource.RLIM_INFINITY or soft >= needed:
        return Finding("files", "open files", "ok", limit)
    advice = (
        f"`ulimit -n {needed}` before hamlet starts (LimitNOFILE= with systemd), "
        "or a lower server.max_in_flight"
    )
    if hard != resource.RLIM_INFINITY and hard < needed:
        advice += f"; the hard limit is {hard}: root must raise it"
    message = f"{limit}, {max_in_flight} calls at once need {needed}"
    level: Level = "warning" if soft > _OTHER_FILES else "failed"
    return Finding("files", "open files", level, message, advice)
