"""The whole move from hamlet1 under load, with what can go wrong on the way.

    python loadtest/cutover.py [--edge envoy|nginx] [--short] [--requests 150] [--gate 10] [--html FILE]

A real edge, the Node stand-in for hamlet1, two hamlets, a vendor on loopback and Prometheus;
12.5 requests/s, open loop, --requests of them at each station. Every command is typed as an operator
would. Status 1 if a client saw a failure that it must not see, or a station is not what it should be.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import json
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import aiohttp
from cutover_parts import ROOT, Load, Program, Result, Vendor, answers, free_port, program
from typer.testing import CliRunner

from hamlet.cli import app

CONFIG = """
server: {{drain_delay_s: 1.5, drain_s: 20}}
providers: {{vendor: {{kind: openai_compatible, base_url: "{vendor}/v1"}}}}
routes: {{chat: {{deployments: [{{provider: vendor, model: new-model}}], policy: {{attempts: 1}}}}}}
cutover:
  legacy_url: http://127.0.0.1:{hamlet1}
  state: state.json
  chat_route: chat
  features:
    chat: {{paths: [/api/chat]}}
    related_links: {{paths: [/api/related], content: "off"}}
    chips: {{paths: [/api/chips], content: "off"}}
  shadow: {{noise_percent: 20, concurrent: 8, per_minute: 2000}}
  gate: {{minutes: 0, requests: {gate}, comparisons: {gate}}}
  replicas: ["http://127.0.0.1:{one}", "http://127.0.0.1:{two}"]
  prometheus: http://127.0.0.1:{prometheus}
  edge:
    listen: 127.0.0.1:{edge}
    hamlet1: 127.0.0.1:{hamlet1}
    hamlet2: ["127.0.0.1:{one}", "127.0.0.1:{two}"]
    runtime: runtime.json
"""
SCRAPE = """
global: {{scrape_interval: 1s}}
scrape_configs:
  - {{job_name: hamlet, static_configs: [{{targets: ["127.0.0.1:{one}", "127.0.0.1:{two}"]}}]}}
"""
NGINX = """
daemon off; pid {folder}/nginx.pid; error_log stderr error; worker_processes 1;
events {{ worker_connections 1024; }}
http {{ access_log off; client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy;
  fastcgi_temp_path {folder}/f; uwsgi_temp_path {folder}/u; scgi_temp_path {folder}/s;
  include {folder}/edge.conf; }}
"""


class Failed(Exception):
    """The run is not what it must be."""


@dataclass
class Stage:
    """Everything that runs, and what is done with it."""

    folder: Path
    ports: dict[str, int]
    vendor: Vendor
    programs: dict[str, Program]
    edge: str
    short: bool

    @property
    def config(self) -> Path:
        return self.folder / "hamlet.yaml"

    async def cutover(self, *words: str, status: int | None = 0) -> tuple[int, str]:
        """Type a command; Failed if its exit status is another one."""
        typed = ("cutover", *words, "--config", str(self.config))
        code, told = await (_here(typed) if self.short else _typed(typed))
        if status is not None and code != status:
            raise Failed(f"{' '.join(words)}: status {code}, not {status}: {told}")
        await self.edge_follows()
        return code, told

    async def edge_follows(self) -> None:
        """Envoy reads the runtime file by itself; nginx is given its file and a signal."""
        if self.edge != "nginx":
            return
        text = await asyncio.to_thread(self._exported, "nginx")
        file = self.folder / "edge.conf"
        if file.exists() and _without_epoch(file.read_text()) == _without_epoch(text):
            return
        file.write_text(text)
        process = self.programs["edge"].process
        if process is not None:
            process.send_signal(signal.SIGHUP)

    def _exported(self, form: str) -> str:
        from hamlet.config import load
        from hamlet.cutover import FileStore, settings
        from hamlet.cutover.edge import envoy, nginx

        config = settings(load(self.config))
        document = FileStore(config.state).read()
        return (
            nginx(config, document)
            if form == "nginx"
            else envoy(config, document, self.ports["admin"])
        )

    def stands(self, feature: str) -> dict[str, object]:
        """A feature's state as it is written."""
        state: dict[str, object] = json.loads((self.folder / "state.json").read_text())["features"][
            feature
        ]
        return state

    def journal(self, feature: str) -> list[str]:
        lines = (self.folder / "state.journal.jsonl").read_text().splitlines()
        entries = [json.loads(line) for line in lines]
        return [f"{e['after']} by {e['cause']}" for e in entries if e["feature"] == feature]

    async def new_arm_works(self) -> None:
        """Neither hamlet leaves the vendor alone any more because of its failures."""
        body = {"model": "chat", "messages": [{"role": "user", "content": "Are you there?"}]}
        async with aiohttp.ClientSession() as http:
            for name in ("one", "two"):
                url = f"http://127.0.0.1:{self.ports[name]}/v1/chat/completions"
                async with asyncio.timeout(60):
                    while True:
                        async with http.post(url, json=body) as answer:
                            if answer.status == 200:
                                break
                        await asyncio.sleep(0.1)

    async def healthy(self) -> None:
        """Both hamlets are ready, and Envoy has noticed."""
        for name in ("one", "two"):
            await answers(f"http://127.0.0.1:{self.ports[name]}/readyz")
        await asyncio.sleep(1.2)


async def _typed(words: tuple[str, ...]) -> tuple[int, str]:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "hamlet", *words),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    told = (await process.communicate())[0].decode()
    return process.returncode or 0, told


async def _here(words: tuple[str, ...]) -> tuple[int, str]:
    """The same command without the second that a new process costs."""
    done = await asyncio.to_thread(CliRunner().invoke, app, words)
    return done.exit_code, done.output


async def until(holds: Callable[[], bool], what: str, within_s: float = 20.0) -> float:
    """Wait for something; the seconds it took. Failed if it does not come."""
    begin = time.monotonic()
    while not holds():
        if time.monotonic() - begin > within_s:
            raise Failed(f"not within {within_s:g} s: {what}")
        await asyncio.sleep(0.02)
    return time.monotonic() - begin


@asynccontextmanager
async def stage(edge: str, gate: int, short: bool) -> AsyncIterator[Stage]:
    """Everything started and well, all features at hamlet1."""
    names = ("hamlet1", "one", "two", "edge", "admin", "prometheus")
    ports = {name: free_port() for name in names}
    vendor = Vendor()
    with tempfile.TemporaryDirectory(prefix="hamlet-cutover-") as name:
        folder = Path(name)
        async with vendor.upstream as upstream:
            text = CONFIG.format(vendor=upstream.url, gate=gate, **ports)
            (folder / "hamlet.yaml").write_text(text)
            (folder / "prometheus.yml").write_text(SCRAPE.format(**ports))
            (folder / "nginx.conf").write_text(NGINX.format(folder=folder))
            programs = _programs(folder, ports, edge, f"{upstream.url}/v1")
            made = Stage(folder, ports, vendor, programs, edge, short)
            await made.cutover("init")
            (folder / "envoy.yaml").write_text(made._exported("envoy"))
            try:
                for started in programs.values():
                    await started.start()
                await made.healthy()
                await answers(f"http://127.0.0.1:{ports['hamlet1']}/health")
                await answers(f"http://127.0.0.1:{ports['prometheus']}/-/ready")
                await answers(f"http://127.0.0.1:{ports['edge']}/health")
                yield made
            finally:
                await asyncio.gather(*(p.stop(signal.SIGKILL) for p in programs.values()))


def _programs(folder: Path, ports: dict[str, int], edge: str, vendor: str) -> dict[str, Program]:
    def log(name: str) -> Path:
        return folder / f"{name}.log"

    def hamlet(name: str) -> Program:
        words = ("-m", "hamlet", "serve", "--port", str(ports[name]))
        config = ("--config", str(folder / "hamlet.yaml"))
        return Program((sys.executable, *words, *config), log(name))

    node = {"UPSTREAM": vendor, "PORT": str(ports["hamlet1"])}
    edges = {
        "envoy": ("-c", str(folder / "envoy.yaml"), "--concurrency", "1", "--disable-hot-restart"),
        "nginx": ("-p", str(folder), "-c", str(folder / "nginx.conf")),
    }
    quiet = ("--log-level", "error") if edge == "envoy" else ()
    listen = f"--web.listen-address=127.0.0.1:{ports['prometheus']}"
    data = (f"--config.file={folder}/prometheus.yml", f"--storage.tsdb.path={folder}/data")
    server = str(ROOT / "tests/hamlet1/server.js")
    return {
        "hamlet1": Program((program("node"), server), log("hamlet1"), node),
        "one": hamlet("one"),
        "two": hamlet("two"),
        "prometheus": Program((program("prometheus"), *data, listen), log("prometheus")),
        "edge": Program((program(edge), *edges[edge], *quiet), log("edge")),
    }


def _without_epoch(text: str) -> str:
    return "\n".join(line for line in text.splitlines() if "epoch" not in line)


# -- the script

Say = Callable[[str], None]
APPROACH = [
    # The second is the share that is tried in the dark.
    *("proxy by operator", "proxy by operator", "shadow by operator"),
    *("shadow (held) by guardrail", "shadow by operator", "canary 1% by autopilot"),
    *("canary 5% by autopilot", "canary 20% by autopilot", "canary 50% by autopilot"),
]
FAILING = ["proxy by guardrail"]
AGAIN = [
    *("proxy by operator", "shadow by operator", "canary 1% by operator"),
    *("canary 5% by autopilot", "canary 20% by autopilot", "canary 50% by autopilot"),
    "new by autopilot",
]
BACK = ["legacy by operator", "legacy by operator", "proxy by operator"]


async def approach(at: Stage, load: Load, count: int, say: Say) -> None:
    """From hamlet1 to half of the users, over a broken contract."""
    for feature in ("chat", "related_links", "chips"):
        await at.cutover("set", feature, "proxy")
    await load.until(count)
    say("proxy: hamlet passes everything through")

    await at.cutover("set", "chat", "shadow", "--sample", "60")
    at.vendor.new_breaks_contract = True
    await until(lambda: bool(at.stands("chat")["hold"]), "a broken contract holds the feature")
    _, told = await at.cutover("advance", "chat", status=3)
    if "contract" not in told:
        raise Failed(f"the gate does not name the contract: {told}")
    say(f"shadow: {at.stands('chat')['hold']}")
    at.vendor.new_breaks_contract = False
    await at.cutover("release", "chat", "--why", "fixed")

    begin = load.sent
    await at.cutover("autopilot", "chat", "--plan", "1,5,20,50", "--every-s", "0.5")
    await load.until(count)
    say("canary 1, 5, 20, 50 %: " + cohorts(at, load, begin))


async def failing(at: Stage, load: Load, count: int, say: Say) -> None:
    """The new arm fails: its users are rescued, and it is left within three seconds."""
    at.vendor.new_fails = True
    seconds = await until(lambda: at.stands("chat")["stage"] == "proxy", "the guardrail trips", 10)
    if seconds > 3:
        raise Failed(f"the new arm failed for {seconds:.1f} s before it was left")
    await load.until(count // 3)
    at.vendor.new_fails = False
    say(f"failing new arm: rescued, and left after {seconds:.1f} s")


async def again(at: Stage, load: Load, count: int, say: Say) -> None:
    """Up once more, to the top."""
    await at.new_arm_works()
    await at.cutover("release", "chat", "--why", "fixed")
    await at.cutover("set", "chat", "shadow", "--sample", "60")
    await two_operators(at)
    say("two operators at once: one step")
    await at.cutover("autopilot", "chat", "--plan", "5,20,50,100", "--every-s", "0.5")
    await load.until(count)
    say("new: all users are there")


async def restarts(at: Stage, load: Load, count: int, say: Say) -> None:
    """Both hamlets one after the other, as a rollout does it."""
    first, whole = load.sent, at.stands("chat")["stage"] == "new"
    for name in ("one", "two"):
        status = await at.programs[name].stop()
        if status != 0:
            raise Failed(f"hamlet {name} ended with {status}")
        await at.programs[name].start()
        await at.healthy()
    await load.settled()
    arms = {arm for seen in at.vendor.arms(first).values() for arm in seen}
    if whole and arms != {"new"}:
        raise Failed(f"during the restart the vendor was asked by {arms}")
    say("rolling restart of both hamlets")


async def without_hamlet1(at: Stage, load: Load, count: int, say: Say) -> None:
    """hamlet1 is killed and started while nobody needs it: only what is at `new` is asked."""
    load.only_chat = True
    await load.settled()
    await at.programs["hamlet1"].stop(signal.SIGKILL)
    await load.until(count // 3)
    await at.programs["hamlet1"].start()
    await answers(f"http://127.0.0.1:{at.ports['hamlet1']}/health")
    load.only_chat = False
    say("hamlet1 was away for a while")


async def two_operators(at: Stage) -> None:
    """Both advance at once as soon as the gate opens: one step, and one of them is told so."""
    while True:
        pair = await asyncio.gather(
            at.cutover("advance", "chat", status=None), at.cutover("advance", "chat", status=None)
        )
        codes = sorted(code for code, _ in pair)
        if codes != [3, 3]:
            break
    if codes not in ([0, 3], [0, 4]) or at.stands("chat")["weight_bp"] != 100:
        raise Failed(f"two operators at once: {codes}, {at.stands('chat')}")


async def kill(at: Stage, load: Load, count: int, say: Callable[[str], None]) -> None:
    """One hamlet dies; only streams that had begun on it may be cut, and visibly."""
    await at.programs["one"].stop(signal.SIGKILL)
    await load.until(count // 3)
    await at.programs["one"].start()
    await at.healthy()
    say("kill -9 of one hamlet, and its return")


async def back(at: Stage, load: Load, count: int, say: Callable[[str], None]) -> None:
    """Everything back to hamlet1, and forward again."""
    await at.cutover("rollback", "--all", "--why", "drill")
    await asyncio.sleep(1.0)
    first = load.sent
    await load.until(count // 2)
    await load.settled()
    arms = {arm for seen in at.vendor.arms(first).values() for arm in seen}
    if arms != {"legacy"}:
        raise Failed(f"after the rollback the vendor was asked by {arms}")
    say("rollback --all: hamlet1 alone")
    for feature in ("chat", "related_links", "chips"):
        await at.cutover("release", feature)
        await at.cutover("set", feature, "proxy")
    await load.until(count // 3)
    say("forward again: proxy")


def cohorts(at: Stage, load: Load, first: int) -> str:
    """Nobody goes back from the new arm, and each request was asked by one arm."""
    entries = [json.loads(x) for x in (at.folder / "state.journal.jsonl").read_text().splitlines()]
    began = [e["at"] for e in entries if e["after"] == "canary 1%"]
    if not began:
        raise Failed("there was no canary")
    offset = time.time() - time.monotonic()
    by_user: dict[str, list[str]] = {}
    for result in sorted(load.results, key=lambda r: r.number):
        arms = at.vendor.seen.get(result.number)
        # What was sent around the move itself may have been tried in the dark still.
        if arms is None or result.number < first or result.at + offset < began[-1] + 1.5:
            continue
        if len(arms) != 1:
            raise Failed(f"request {result.number} was asked by {arms}")
        by_user.setdefault(result.user, []).append(arms[0])
    for user, arms in by_user.items():
        if "legacy" in arms[arms.index("new") :] if "new" in arms else False:
            raise Failed(f"{user} went back: {arms}")
    moved = sum("new" in arms for arms in by_user.values())
    return f"{moved} of {len(by_user)} users moved, none of them back"


def once_held(journal: list[str]) -> list[str]:
    """Without the second of two holds: both replicas may have seen the reason for one."""
    doubles = [b for a, b in itertools.pairwise(journal) if a == b and "held" in b]
    kept = list(journal)
    for double in doubles:
        kept.remove(double)
    return kept


def judge(results: list[Result], allowed: tuple[float, float]) -> None:
    """Failed if a client saw what it must not see."""
    wrong = [r for r in results if not r.ok]
    cut = [
        r for r in wrong if r.stream and r.begun and allowed[0] <= r.at + r.seconds <= allowed[1]
    ]
    bad = [r for r in wrong if r not in cut]
    print(f"{len(results)} requests, {len(bad)} failed, {len(cut)} begun streams cut by kill -9")
    if bad:
        raise Failed("; ".join(f"{r.number}: {r.why}" for r in bad[:5]))


WHOLE = (approach, failing, again, restarts, without_hamlet1, kill, back)
SHORT = (approach, restarts, kill, failing, back)


async def main(asked: argparse.Namespace) -> int:
    begin = time.monotonic()

    def say(text: str) -> None:
        print(f"{time.monotonic() - begin:6.1f} s  {text}", flush=True)

    try:
        async with stage(asked.edge, asked.gate, asked.short) as at:
            edge = f"http://127.0.0.1:{at.ports['edge']}"
            say(f"{asked.edge}, hamlet1, two hamlets and Prometheus run")
            async with Load(edge, 12.5, keep=asked.edge == "envoy") as load:
                await load.until(asked.requests // 3)
                killed = 0.0
                for part in SHORT if asked.short else WHOLE:
                    killed = time.monotonic() if part is kill else killed
                    await part(at, load, asked.requests, say)
                await load.settled()
                journal = once_held(at.journal("chat"))
                if journal != APPROACH + FAILING + AGAIN * (not asked.short) + BACK:
                    raise Failed(f"the journal is not the script: {journal}")
                if asked.html:
                    await at.cutover("report", "--html", str(asked.html))
                results = load.results
            judge(results, (killed, killed + 3))
    except Failed as error:
        print(f"FAILED: {error}")
        return 1
    by_kind = Counter("stream" if r.stream else "whole" for r in results)
    print(f"ok: {dict(by_kind)}, the journal is the script")
    return 0


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--edge", choices=("envoy", "nginx"), default="envoy")
    parser.add_argument("--requests", type=int, default=150)
    parser.add_argument("--gate", type=int, default=10)
    parser.add_argument("--short", action="store_true", help="without the second way up")
    parser.add_argument("--html", type=Path)
    sys.exit(asyncio.run(main(parser.parse_args())))
