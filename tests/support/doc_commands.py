"""Commands in the documentation, run as a reader does: one shell session per page, in a new folder.

In a fenced block of `console`, a line that begins with `$ ` is a command; the lines after it
are its output, where `...` matches anything. Servers run in the background until the page ends.
Ports are replaced by free ones, and the folder of the virtual environment by this one's.
"""

import asyncio
import os
import random
import re
import shlex
import signal
import socket
import sys
from collections.abc import Iterator
from contextlib import chdir, suppress
from dataclasses import dataclass, field
from pathlib import Path

from typer.testing import CliRunner

from hamlet.cli import app

_FENCE = re.compile(r"^```(\w+)\n(.*?)^```$", re.DOTALL | re.MULTILINE)
_SERVER_COMMAND = re.compile(r"hamlet serve|hamlet\.testing\.simulator")
_SHELL_SYNTAX = re.compile(r"[|<>&;$]")
_PORT = re.compile(r"(?<=127\.0\.0\.1:)\d{4,5}|(?<=--port )\d{4,5}")
_WAIT_S = 60.0


@dataclass
class Command:
    """One command of a page, and the lines it prints."""

    line: str
    expected: list[str] = field(default_factory=list)


def fenced_blocks(page: Path, *languages: str) -> Iterator[tuple[str, str]]:
    """(language, text) of the page's fenced blocks of these languages, in order."""
    for language, text in _FENCE.findall(page.read_text("utf-8")):
        if language in languages:
            yield language, text


def parse_commands(text: str) -> Iterator[Command]:
    """The commands of a console block; a trailing backslash continues one on the next line."""
    current: Command | None = None
    for line in text.splitlines():
        if line.startswith("$ "):
            if current:
                yield current
            current = Command(line[2:])
        elif current and current.line.endswith("\\"):
            current.line = f"{current.line[:-1]} {line.strip()}"
        elif current and line.strip():
            current.expected.append(line.rstrip())
    if current:
        yield current


def first_missing_line(expected: list[str], output: str) -> str:
    """The first expected line that was not printed, in order; "" if all were."""
    rest = output.splitlines()
    for line in expected:
        pattern = re.compile(".*".join(map(re.escape, line.split("..."))).strip())
        while rest and not pattern.search(" ".join(rest[0].split("\t"))):
            rest.pop(0)
        if not rest:
            return line
        rest.pop(0)
    return ""


class Session:
    """A shell for one page. Leaving the `async with` block kills the servers it started."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._ports: dict[str, str] = {}
        self._servers: list[asyncio.subprocess.Process] = []
        self._environment = {
            **os.environ,
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
            "COLUMNS": "200",
            "NO_COLOR": "1",
        }

    async def __aenter__(self) -> "Session":
        return self

    async def __aexit__(self, *_: object) -> None:
        for server in self._servers:
            if server.returncode is None:
                os.killpg(server.pid, signal.SIGKILL)
            await server.communicate()

    def replace_ports(self, text: str) -> str:
        """A text of the page with its ports replaced by free ones."""
        return _PORT.sub(lambda match: self._free_port_for(match[0]), text)

    def adapt_command(self, command: str) -> str:
        """A command as run here: `make serve` becomes `hamlet serve` without the installation."""
        command = command.replace(".venv/bin/", "")
        made = re.fullmatch(r"make serve(?: CONFIG=(\S+))?(?: PORT=(\d+))?", command)
        if made:
            config = f" --config {made[1]}" if made[1] else ""
            command = f"hamlet serve{config} --port {made[2] or 8080}"
        elif command.startswith("hamlet serve") and "--port" not in command:
            command += " --port 8080"
        return self.replace_ports(command)

    def _free_port_for(self, port: str) -> str:
        while port not in self._ports:
            # Below the kernel's ephemeral range, so that no other process is given it meanwhile.
            wanted = random.randrange(20_000, 32_000)
            with socket.socket() as taken, suppress(OSError):
                taken.bind(("127.0.0.1", wanted))
                self._ports[port] = str(wanted)
        return self._ports[port]

    async def assert_prints_expected(self, command: Command) -> None:
        """Run a command. Raises AssertionError unless it succeeds and prints the expected lines."""
        words = self.adapt_command(command.line)
        if _SERVER_COMMAND.search(words):
            printed = await self._start_server(words)
        elif words.startswith("hamlet ") and not _SHELL_SYNTAX.search(words):
            printed = await asyncio.to_thread(self._run_in_process, words)
        else:
            printed = await self._run_in_shell(words)
        missing = first_missing_line(
            [self.replace_ports(line) for line in command.expected], printed
        )
        assert not missing, f"$ {words}\nnot printed: {missing}\nprinted:\n{printed}"

    def _run_in_process(self, words: str) -> str:
        """Run a short hamlet command in this process: a new interpreter takes a second."""
        with chdir(self.folder):
            result = CliRunner().invoke(app, shlex.split(words)[1:], env={"COLUMNS": "200"})
        assert result.exit_code == 0, f"$ {words}\n{result.output}"
        return result.output

    async def assert_python_runs(self, code: str) -> None:
        """Run a block of Python. Raises AssertionError unless it succeeds."""
        await self._run_in_shell(f"python -W ignore - <<'END'\n{self.replace_ports(code)}\nEND")

    async def _run_in_shell(self, words: str) -> str:
        # Exported variables last for the session, as in a terminal.
        script = f"set -o pipefail\n{words}\nstatus=$?\nexport -p > .exported\nexit $status"
        before = "source ./.exported\n" if (self.folder / ".exported").exists() else ""
        process = await asyncio.create_subprocess_exec(
            "bash", "-c", before + script,
            cwd=self.folder, env=self._environment,
            stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
        )  # fmt: skip
        out, _ = await asyncio.wait_for(process.communicate(), _WAIT_S)
        assert process.returncode == 0, f"$ {words}\n{out.decode()}"
        return out.decode()

    async def _start_server(self, words: str) -> str:
        process = await asyncio.create_subprocess_exec(
            "bash", "-c", f"exec {words}",
            cwd=self.folder, env=self._environment, start_new_session=True,
            stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.DEVNULL,
        )  # fmt: skip
        self._servers.append(process)
        assert process.stdout
        line = await asyncio.wait_for(process.stdout.readline(), _WAIT_S)
        assert b"http://" in line, f"$ {words}\n{line.decode()}"
        if "hamlet serve" in words:
            # The first line comes once it listens; the rest of the greeting follows.
            for _ in range(4):
                line += await asyncio.wait_for(process.stdout.readline(), _WAIT_S)
        return line.decode()
