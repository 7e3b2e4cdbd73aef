"""The bench's contenders and the processes around them: the gateway on core 0, all else on core 1."""

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

from loadtest.bench import gateways
from loadtest.bench.gateways import MESSAGES, Launcher
from loadtest.bench.rounds import Round, write_wrk_script
from loadtest.engine.processes import Process, free_port, pss_mib, wait_until_ready

CHAT = "/v1/chat/completions"
SUGGEST = "/v1/suggest"
BODY = json.dumps({"model": "gpt-4o-mini", "messages": MESSAGES, "temperature": 0.2}).encode()


@dataclass(frozen=True, slots=True)
class ContenderSpec:
    """How a contender is launched and which requests it gets.

    A hamlet variant is another way to run hamlet, not a peer of it. `is_cached`: the bodies are few,
    and their responses come from the cache once it is filled.
    """

    launcher: Launcher
    uses_tls: bool = False
    path: str = CHAT
    bodies: Sequence[bytes] = (BODY,)
    is_hamlet_variant: bool = False
    is_cached: bool = False

    @property
    def is_comparable_plain(self) -> bool:
        """Whether it gets the same requests as every peer, over plain HTTP."""
        return self.is_comparable and not self.uses_tls

    @property
    def is_comparable(self) -> bool:
        """Whether it gets the same requests as every peer, over TLS or not."""
        return self.path == CHAT and not self.is_hamlet_variant


@dataclass(slots=True)
class Contender:
    """A running gateway. `start_s` is from exec to its first 200, in seconds."""

    name: str
    url: str
    entry: ContenderSpec
    process: Process
    lua: Path
    headers: Mapping[str, str]
    start_s: float
    idle_mib: float
    rounds: list[Round] = field(default_factory=list)


def contender_specs(cert: Path) -> dict[str, ContenderSpec]:
    """The contenders by name, hamlet first. `cert` is the certificate of the TLS upstream."""
    queries = [
        json.dumps({"context": {"query": f"{word} laptop {i}"}}).encode()
        for i, word in enumerate(("light", "quiet", "cheap", "good", "used") * 8)
    ]
    return {
        "hamlet": ContenderSpec(gateways.hamlet()),
        "hamlet, aiohttp": ContenderSpec(gateways.hamlet("aiohttp"), is_hamlet_variant=True),
        "hamlet, TLS": ContenderSpec(gateways.hamlet(ca=cert), uses_tls=True),
        "hamlet, aiohttp, TLS": ContenderSpec(gateways.hamlet("aiohttp", cert), uses_tls=True),
        "hamlet, OpenAI to Anthropic": ContenderSpec(
            gateways.hamlet_translating, is_hamlet_variant=True
        ),
        "hamlet, suggest from cache": ContenderSpec(
            gateways.hamlet_suggest(cached=True),
            False,
            SUGGEST,
            queries[:8],
            is_hamlet_variant=True,
            is_cached=True,
        ),
        "hamlet, suggest embedded": ContenderSpec(
            gateways.hamlet_suggest(cached=False), False, SUGGEST, queries, is_hamlet_variant=True
        ),
        "hamlet, its image's Python": ContenderSpec(
            gateways.hamlet_on_debian, is_hamlet_variant=True
        ),
        "hamlet's HTTP alone": ContenderSpec(gateways.hamlet_pass_through, is_hamlet_variant=True),
        "nginx": ContenderSpec(gateways.nginx),
        "envoy": ContenderSpec(gateways.envoy),
        "sglang-router": ContenderSpec(gateways.sglang_router),
        "portkey": ContenderSpec(gateways.portkey),
        "litellm": ContenderSpec(gateways.litellm),
    }


class Bench:
    """The bench's processes, as a context manager that stops them all at its end."""

    def __init__(self, folder: Path, environments: Path) -> None:
        self.folder, self._environments = folder, environments
        self.processes: list[Process] = []
        self.missing: list[str] = []

    def __enter__(self) -> Bench:
        self.key, self.cert = _make_certificate(self.folder)
        plain, secure = free_port(), free_port()
        tls = f" ssl; ssl_certificate {self.cert}; ssl_certificate_key {self.key}"
        self.plain_url, self.tls_url = f"http://127.0.0.1:{plain}", f"https://localhost:{secure}"
        try:
            first = self._start_upstream("up", plain, "")
            self._start_upstream("up-tls", secure, tls)
            wait_until_ready(f"{self.plain_url}/", first, 10)
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        for process in reversed(self.processes):
            process.stop()

    def start(
        self, name: str, entry: ContenderSpec, upstream: str | None = None
    ) -> Contender | None:
        """Start a gateway and wait for its first 200; None, and a name in `missing`, if it fails."""
        contender_folder = Path(tempfile.mkdtemp(prefix=re.sub(r"\W+", "-", name), dir=self.folder))
        port = free_port()
        default = self.tls_url if entry.uses_tls else self.plain_url
        launch = entry.launcher(port, upstream or default, contender_folder, self._environments)
        if launch is None:
            self.missing.append(name)
            return None
        process = Process(launch.command, log=contender_folder / "log", env=launch.env, cpu=0)
        self.processes.append(process)
        url = f"http://127.0.0.1:{port}"
        try:
            start_s = wait_until_ready(
                url + entry.path, process, 120, entry.bodies[0], launch.headers
            )
        except RuntimeError:
            # Reported as missing; the end of its log says why.
            print(
                f"{name} does not answer: {(contender_folder / 'log').read_text()[-500:]}",
                file=sys.stderr,
            )
            process.stop()
            self.missing.append(name)
            return None
        time.sleep(0.5)
        lua = write_wrk_script(contender_folder, entry.bodies, launch.headers)
        idle = pss_mib(process.pid)
        return Contender(name, url, entry, process, lua, launch.headers, start_s, idle)

    def stop(self, contender: Contender) -> None:
        """Stop one contender now."""
        contender.process.stop()
        self.processes.remove(contender.process)

    def _start_upstream(self, name: str, port: int, tls: str) -> Process:
        folder = self.folder / name
        folder.mkdir()
        launch = gateways.nginx_static(port, folder, tls)
        self.processes.append(Process(launch.command, log=folder / "log", cpu=1))
        return self.processes[-1]


def _make_certificate(folder: Path) -> tuple[Path, Path]:
    key, cert = folder / "key.pem", folder / "cert.pem"
    words = "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2"
    subject = ["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost"]
    subprocess.run(
        ["openssl", *words.split(), *subject, "-keyout", str(key), "-out", str(cert)],  # noqa: S607
        check=True,
        capture_output=True,
    )
    return key, cert
