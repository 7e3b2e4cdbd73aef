"""hamlet as a process of its own, the way users start it, with a clock that may be wrong."""

from collections.abc import Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from pathlib import Path

from loadtest.engine import server_process
from loadtest.engine.server_process import ServerProcess

_CLOCK_OFFSET_PROGRAM = """
import time
right = time.time
time.time = lambda: right() + {}
from hamlet.cli import main
main()
"""


def run_server_process(
    config: Path,
    *options: str,
    environment: Mapping[str, str] = {},
    fds: Sequence[int] = (),
    clock_offset_s: float = 0.0,
) -> AbstractAsyncContextManager[ServerProcess]:
    """`hamlet serve` on a free port, ended with the block; its clock is `clock_offset_s` ahead."""
    program = (
        ("-c", _CLOCK_OFFSET_PROGRAM.format(clock_offset_s)) if clock_offset_s else ("-m", "hamlet")
    )
    return server_process.run_server_process(
        config, *options, environment=environment, fds=fds, program=program
    )
