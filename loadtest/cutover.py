"""The whole move from hamlet1 under load, with what can go wrong on the way.

    python -m loadtest.cutover [--edge envoy|nginx] [--short] [--requests 150] [--gate 10] [--html FILE]

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
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

from loadtest.cutover_parts import Load, Result, answers
from loadtest.cutover_stage import Failed, Stage, stage, until

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
