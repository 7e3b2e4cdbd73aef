"""What every command of the load tests needs."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn


def commit() -> str:
    """The revision that is measured, short, with a + if files differ from it."""
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
    """A bar on a terminal, told of the seconds that have passed."""
    columns = (TextColumn("{task.description:14}"), BarColumn(), TimeRemainingColumn())
    with Progress(*columns, disable=not sys.stderr.isatty()) as progress:
        bar = progress.add_task(name, total=length_s)
        yield lambda at: progress.update(bar, completed=at)
        progress.update(bar, completed=length_s)
