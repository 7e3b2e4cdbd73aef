"""The commit that is measured, and a progress bar."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn


def commit() -> str:
    """The short revision, with a + if files differ from it."""
    try:
        completed = subprocess.run(
            ["git", "describe", "--always", "--dirty=+"],  # noqa: S607
            capture_output=True,
            text=True,
            check=True,
        )
        return completed.stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return "unknown"


@contextmanager
def progress_bar(name: str, length_s: float) -> Iterator[Callable[[float], None]]:
    """A progress bar on a terminal; the context's value takes the seconds that have passed."""
    columns = (TextColumn("{task.description:14}"), BarColumn(), TimeRemainingColumn())
    with Progress(*columns, disable=not sys.stderr.isatty()) as progress:
        bar = progress.add_task(name, total=length_s)
        yield lambda at: progress.update(bar, completed=at)
        progress.update(bar, completed=length_s)
