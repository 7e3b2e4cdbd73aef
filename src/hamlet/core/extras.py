"""Optional dependencies: settings that need an extra say so where they are validated."""

from __future__ import annotations

from importlib.util import find_spec


def require_extra(module: str, extra: str, subject: str) -> None:
    """Raise ValueError with the command that installs `extra` unless `module` is importable.

    Nothing is imported but the parent packages of `module`.
    """
    try:
        is_installed = find_spec(module) is not None
    except ImportError:
        is_installed = False
    if not is_installed:
        raise ValueError(f"{subject} needs the extra: pip install 'hamlet[{extra}]'")
