"""Who is measured, and how they come to stand: a gateway on core 0, all else on core 1."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from loadtest.peers import gateways
from loadtest.peers.gateways import MESSAGES, Launcher
from loadtest.peers.rounds import Round, script
from loadtest.proc import Process, free_port, pss_mib, wait_for

CHAT = "/v1/chat/completions"
SUGGEST = "/v1/suggest"
BODY = json.dumps({"model": "gpt-4o-mini", "messages": MESSAGES, "temperature": 0.2}).encode()


@dataclass(frozen=True, slots=True)
class Entry:
    """How a contender is launched and what it is asked; `of_ours` is no peer but hamlet's own."""

    launcher: Launcher
    secure: bool = False
    path: str = CHAT
    bodies: Sequence[bytes] = (BODY,)
    of_ours: bool = False

    @property
    def is_plain(self) -> bool:
        """Whether it is asked the same as everybody, over plain HTTP."""
        return self.asks_the_same and not self.secure

    @property
    def asks_the_same(self) -> bool:
        """Whether it is asked the same as everybody, over TLS or not."""
        return self.path == CHAT and not self.of_ours


@dataclass(slots=True)
class Contender:
    """A gateway that stands ready."""

    name: str
    url: str
    entry: Entry
    process: Process
    lua: Path
    headers: Mapping[str, str]
    start_s: float
    idle_mib: float
    rounds: list[Round] = field(default_factory=list)


def contenders(cert: Path) -> dict[str, Entry]:
    """Who can be measured. hamlet comes first."""
    queries = [
        json.dumps({"context": {"query": f"{word} laptop {i}"}}).encode()
        for i, word in enumerate(("light", "quiet", "cheap", "good", "used") * 8)
    ]
    return {
        "hamlet": Entry(gateways.hamlet()),
        "hamlet, aiohttp": Entry(gateways.hamlet("aiohttp"), of_ours=True),
        "hamlet, TLS": Entry(gateways.hamlet(ca=cert), secure=True),
        "hamlet, aiohttp, TLS": Entry(gateways.hamlet("aiohttp", cert), secure=True),
        "hamlet, OpenAI to Anthropic": Entry(gateways.hamlet_translating, of_ours=True),
        "hamlet, suggest from cache": Entry(
            gateways.hamlet_suggesting(kept=True), False, SUGGEST, queries[:8], of_ours=True
        ),
        "hamlet, suggest embedded": Entry(
            gateways.hamlet_suggesting(kept=False), False, SUGGEST, queries, of_ours=True
        ),
        "hamlet, its image's Python": Entry(gateways.hamlet_on_debian, of_ours=True),
        "hamlet's HTTP alone": Entry(gateways.hamlet_floor, of_ours=True),
        "nginx": Entry(gateways.nginx),
        "envoy": Entry(gateways.envoy),
        "sglang-router": Entry(gateways.sglang_router),
        "portkey": Entry(gateways.portkey),
        "litellm": Entry(gateways.litellm),
    }


class Bench:
    """The bench's processes. Used as a context; all are stopped at its end."""

    def __init__(self, folder: Path, environments: Path) -> None:
        self.folder, self._environments = folder, environments
        self.processes: list[Process] = []
        self.missing: list[str] = []

    def __enter__(self) -> Bench:
        self.key, self.cert = _certificate(self.folder)
        plain, secure = free_port(), free_port()
        tls = f" ssl; ssl_certificate {self.cert}; ssl_certificate_key {self.key}"
        self.plain, self.secure = f"http://127.0.0.1:{plain}", f"https://localhost:{secure}"
        try:
            first = self._upstream("up", plain, "")
            self._upstream("up-tls", secure, tls)
            wait_for(f"{self.plain}/", first, 10)
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        for process in reversed(self.processes):
            process.stop()

    def start(self, name: str, entry: Entry, upstream: str | None = None) -> Contender | None:
        """Start one, or note that it is missing. Its first 200 ends its start-up."""
        home = Path(tempfile.mkdtemp(prefix=re.sub(r"\W+", "-", name), dir=self.folder))
        port = free_port()
        default = self.secure if entry.secure else self.plain
        launch = entry.launcher(port, upstream or default, home, self._environments)
        if launch is None:
            self.missing.append(name)
            return None
        process = Process(launch.command, log=home / "log", env=launch.env, cpu=0)
        self.processes.append(process)
        url = f"http://127.0.0.1:{port}"
        try:
            start_s = wait_for(url + entry.path, process, 120, entry.bodies[0], launch.headers)
        except RuntimeError:
            # It is said to be missing; its own last words are in the log.
            print(f"{name} does not answer: {(home / 'log').read_text()[-500:]}", file=sys.stderr)
            process.stop()
            self.missing.append(name)
            return None
        time.sleep(0.5)
        lua = script(home, entry.bodies, launch.headers)
        idle = pss_mib(process.pid)
        return Contender(name, url, entry, process, lua, launch.headers, start_s, idle)

    def stop(self, one: Contender) -> None:
        """Stop one before the end."""
        one.process.stop()
        self.processes.remove(one.process)

    def _upstream(self, name: str, port: int, tls: str) -> Process:
        folder = self.folder / name
        folder.mkdir()
        launch = gateways.nginx_static(port, folder, tls)
        self.processes.append(Process(launch.command, log=folder / "log", cpu=1))
        return self.processes[-1]


def _certificate(folder: Path) -> tuple[Path, Path]:
    key, cert = folder / "key.pem", folder / "cert.pem"
    words = "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2"
    named = ["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost"]
    subprocess.run(
        ["openssl", *words.split(), *named, "-keyout", str(key), "-out", str(cert)],  # noqa: S607
        check=True,
        capture_output=True,
    )
    return key, cert
