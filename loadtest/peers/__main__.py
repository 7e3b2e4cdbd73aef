"""Measure hamlet beside its peers.

    python -m loadtest.peers [--only NAME,NAME] [--rounds N] [--seconds S] [--out DIR]

The gateways stand side by side on one core, the upstream and the load on another; rounds go in
turn. CPU time a request is what counts: it hardly depends on who else uses the machine. Peers
live in ENVIRONMENTS (see deploy/peers.sh); those not installed are left out, and said to be.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from loadtest.peers import gateways
from loadtest.peers.gateways import MESSAGES, Launcher
from loadtest.peers.report import write
from loadtest.peers.rounds import Result, Round, load, result, script
from loadtest.proc import Process, free_port, pss_mib, wait_for

BODY = json.dumps({"model": "gpt-4o-mini", "messages": MESSAGES, "temperature": 0.2}).encode()
PATH = "/v1/chat/completions"


@dataclass(slots=True)
class Contender:
    """A gateway that stands ready."""

    name: str
    url: str
    process: Process
    lua: Path
    start_s: float
    idle_mib: float
    rounds: list[Round]


def contenders(cert: Path) -> dict[str, tuple[Launcher, bool]]:
    """Who can be measured, and whether over TLS to the upstream."""
    return {
        "hamlet": (gateways.hamlet("httptools"), False),
        "hamlet, aiohttp": (gateways.hamlet("aiohttp"), False),
        "hamlet, TLS": (gateways.hamlet("httptools", cert), True),
        "hamlet, aiohttp, TLS": (gateways.hamlet("aiohttp", cert), True),
        "nginx": (gateways.nginx, False),
        "envoy": (gateways.envoy, False),
        "sglang-router": (gateways.sglang_router, False),
        "portkey": (gateways.portkey, False),
        "litellm": (gateways.litellm, False),
    }


def main() -> None:
    """Run the bench and write table.md, plot.svg and result.json."""
    options = _options()
    folder = Path(tempfile.mkdtemp(prefix="bench-"))
    processes: list[Process] = []
    try:
        results, missing = bench(options, folder, processes)
    finally:
        for process in processes:
            process.stop()
    options.out.mkdir(parents=True, exist_ok=True)
    print(write(results, missing, options.out))


def bench(
    options: argparse.Namespace, folder: Path, processes: list[Process]
) -> tuple[list[Result], list[str]]:
    """Start everything, take the rounds, and put together what they say."""
    key, cert = _certificate(folder)
    plain, secure = free_port(), free_port()
    processes.append(_upstream(folder / "up", plain, ""))
    tls = f" ssl; ssl_certificate {cert}; ssl_certificate_key {key}"
    processes.append(_upstream(folder / "up-tls", secure, tls))
    wait_for(f"http://127.0.0.1:{plain}/", processes[0], 10)
    upstreams = {False: f"http://127.0.0.1:{plain}", True: f"https://localhost:{secure}"}
    wanted = contenders(cert)
    names = options.only.split(";") if options.only else list(wanted)
    standing, missing = [], []
    for name in names:
        launcher, over_tls = wanted[name]
        one = _start(name, launcher, upstreams[over_tls], folder, options.environments, processes)
        standing.append(one) if one else missing.append(name)
    for number in range(options.rounds + 1):
        for one in standing:
            seconds = options.seconds if number else min(options.seconds, 2)
            taken = load(
                one.url + PATH, one.lua, one.process, processes, options.connections, seconds
            )
            # The first lap warms connections and code.
            if number:
                one.rounds.append(taken)
                print(
                    f"{number} {one.name:22} {taken.us:9.1f} us  others {taken.others:.2f}",
                    flush=True,
                )
    return [
        result(c.name, c.rounds, c.start_s, c.idle_mib, pss_mib(c.process.pid)) for c in standing
    ], missing


def _start(
    name: str,
    launcher: Launcher,
    upstream: str,
    folder: Path,
    environments: Path,
    processes: list[Process],
) -> Contender | None:
    home = folder / name.replace(" ", "").replace(",", "-")
    home.mkdir()
    port = free_port()
    launch = launcher(port, upstream, home, environments)
    if launch is None:
        return None
    process = Process(launch.command, log=home / "log", env=launch.env, cpu=0)
    processes.append(process)
    lua = script(home, BODY, launch.headers)
    url = f"http://127.0.0.1:{port}"
    try:
        start_s = wait_for(url + PATH, process, 90, BODY, launch.headers)
    except RuntimeError:
        # It is said to be missing; its own last words are in the log.
        print(f"{name} does not answer: {(home / 'log').read_text()[-500:]}", file=sys.stderr)
        process.stop()
        return None
    time.sleep(0.5)
    return Contender(name, url, process, lua, start_s, pss_mib(process.pid), [])


def _upstream(folder: Path, port: int, tls: str) -> Process:
    folder.mkdir()
    launch = gateways.nginx_static(port, folder, tls)
    return Process(launch.command, log=folder / "log", cpu=1)


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


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--only", default="", help="names, with ; between")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=4)
    parser.add_argument("--connections", type=int, default=32)
    parser.add_argument("--environments", type=Path, default=Path(".peers"))
    parser.add_argument("--out", type=Path, default=Path("bench-results"))
    return parser.parse_args()


if __name__ == "__main__":
    main()
