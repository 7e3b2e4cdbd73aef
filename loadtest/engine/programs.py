"""Programs that a scenario starts, stops and starts again in its own event loop."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

_STOP_TIMEOUT_S = 40.0


@dataclass
class RestartableProgram:
    """A command that may be started several times; all its output is appended to `log`."""

    command: Sequence[str]
    log: Path
    environment: Mapping[str, str] = field(default_factory=dict)
    process: asyncio.subprocess.Process | None = None

    async def start(self) -> None:
        with self.log.open("ab") as sink:
            self.process = await asyncio.create_subprocess_exec(
                *self.command, stdout=sink, stderr=sink, env={**os.environ, **self.environment}
            )

    async def stop(self, signal_number: signal.Signals = signal.SIGTERM) -> int:
        """Send a signal and wait for the exit status; 0 if the program does not run.

        The program is killed if it still runs after 40 seconds.
        """
        if self.process is None or self.process.returncode is not None:
            return 0
        self.process.send_signal(signal_number)
        try:
            return await asyncio.wait_for(self.process.wait(), _STOP_TIMEOUT_S)
        except TimeoutError:
            self.process.kill()
            return await self.process.wait()


def find_program(name: str) -> str:
    """The path of a program, looked for beside Python, on PATH and in /usr/sbin.

    Exits with status 2 if it is not installed.
    """
    places = os.pathsep.join((str(Path(sys.executable).parent), os.environ["PATH"], "/usr/sbin"))
    found = shutil.which(name, path=places)
    if found is None:
        print(f"{name} is not installed")
        sys.exit(2)
    return found
