"""The whole migration from hamlet1 under load, with the failures that can happen on the way.

    python -m loadtest.scenarios.migration [--edge envoy|nginx] [--short] [--requests 150] [--gate 10] [--html FILE]

A real edge proxy, the Node stand-in for hamlet1, two replicas of hamlet, a vendor on loopback and
Prometheus; 12.5 requests/s in an open loop, --requests of them in each step. Commands are the operator's.
Exits with 1 if a client saw a failure that it must not see, or a step has the wrong result.
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

from loadtest.engine.waiting import wait_until_ok
from loadtest.scenarios.migration.processes import ClientResult, OpenLoopLoad
from loadtest.scenarios.migration.testbed import (
    MigrationTestbed,
    RunFailed,
    start_testbed,
    wait_for,
)

LogStep = Callable[[str], None]
ROLLOUT_ENTRIES = [
    # The second entry sets the share that is shadowed.
    *("proxy by operator", "proxy by operator", "shadow by operator"),
    *("shadow (held) by guardrail", "shadow by operator", "canary 1% by autopilot"),
    *("canary 5% by autopilot", "canary 20% by autopilot", "canary 50% by autopilot"),
]
FAILURE_ENTRIES = ["proxy by guardrail"]
SECOND_ROLLOUT_ENTRIES = [
    *("proxy by operator", "shadow by operator", "canary 1% by operator"),
    *("canary 5% by autopilot", "canary 20% by autopilot", "canary 50% by autopilot"),
    "new by autopilot",
]
ROLLBACK_ENTRIES = ["legacy by operator", "legacy by operator", "proxy by operator"]


async def roll_out(
    testbed: MigrationTestbed, load: OpenLoopLoad, count: int, log_step: LogStep
) -> None:
    """From hamlet1 to half of the users, with a broken contract on the way."""
    for feature in ("chat", "related_links", "chips"):
        await testbed.run_command("set", feature, "proxy")
    await load.wait_for_requests(count)
    log_step("proxy: hamlet passes everything through")

    await testbed.run_command("set", "chat", "shadow", "--sample", "60")
    testbed.vendor.new_arm_breaks_contract = True
    await wait_for(
        lambda: bool(testbed.feature_state("chat")["hold"]), "a broken contract holds the feature"
    )
    _, output = await testbed.run_command("advance", "chat", status=3)
    if "contract" not in output:
        raise RunFailed(f"the gate does not name the contract: {output}")
    log_step(f"shadow: {testbed.feature_state('chat')['hold']}")
    testbed.vendor.new_arm_breaks_contract = False
    await testbed.run_command("release", "chat", "--why", "fixed")

    first = load.sent
    await testbed.run_command("autopilot", "chat", "--plan", "1,5,20,50", "--every-s", "0.5")
    await load.wait_for_requests(count)
    log_step("canary 1, 5, 20, 50 %: " + check_cohorts(testbed, load, first))


async def fail_new_arm(
    testbed: MigrationTestbed, load: OpenLoopLoad, count: int, log_step: LogStep
) -> None:
    """The new arm fails: its users get responses of hamlet1, and it is rolled back within three seconds."""
    testbed.vendor.new_arm_fails = True
    seconds = await wait_for(
        lambda: testbed.feature_state("chat")["stage"] == "proxy", "the guardrail trips", 10
    )
    if seconds > 3:
        raise RunFailed(f"the new arm failed for {seconds:.1f} s before the rollback")
    await load.wait_for_requests(count // 3)
    testbed.vendor.new_arm_fails = False
    log_step(f"failing new arm: users fell back, rolled back after {seconds:.1f} s")


async def roll_out_again(
    testbed: MigrationTestbed, load: OpenLoopLoad, count: int, log_step: LogStep
) -> None:
    """Roll out once more, to all users."""
    await testbed.wait_until_new_arm_works()
    await testbed.run_command("release", "chat", "--why", "fixed")
    await testbed.run_command("set", "chat", "shadow", "--sample", "60")
    await advance_concurrently(testbed)
    log_step("two operators at once: one step")
    await testbed.run_command("autopilot", "chat", "--plan", "5,20,50,100", "--every-s", "0.5")
    await load.wait_for_requests(count)
    log_step("new: all users are served by hamlet")


async def restart_replicas(
    testbed: MigrationTestbed, load: OpenLoopLoad, count: int, log_step: LogStep
) -> None:
    """Restart both replicas one after the other, as a deployment does."""
    first, rolled_out = load.sent, testbed.feature_state("chat")["stage"] == "new"
    for name in ("one", "two"):
        status = await testbed.programs[name].stop()
        if status != 0:
            raise RunFailed(f"hamlet {name} ended with {status}")
        await testbed.programs[name].start()
        await testbed.wait_until_healthy()
    await load.wait_until_settled()
    arms = {arm for seen in testbed.vendor.arms_since(first).values() for arm in seen}
    if rolled_out and arms != {"new"}:
        raise RunFailed(f"during the restart the vendor was called by {arms}")
    log_step("rolling restart of both replicas")


async def restart_hamlet1(
    testbed: MigrationTestbed, load: OpenLoopLoad, count: int, log_step: LogStep
) -> None:
    """Kill and start hamlet1 while nothing needs it: clients only call features at `new`."""
    load.only_chat = True
    await load.wait_until_settled()
    await testbed.programs["hamlet1"].stop(signal.SIGKILL)
    await load.wait_for_requests(count // 3)
    await testbed.programs["hamlet1"].start()
    await wait_until_ok(f"http://127.0.0.1:{testbed.ports['hamlet1']}/health")
    load.only_chat = False
    log_step("hamlet1 was stopped for a while")


async def advance_concurrently(testbed: MigrationTestbed) -> None:
    """Two operators advance as soon as the gate opens: one step is made, and one of them gets an error."""
    while True:
        pair = await asyncio.gather(
            testbed.run_command("advance", "chat", status=None),
            testbed.run_command("advance", "chat", status=None),
        )
        codes = sorted(code for code, _ in pair)
        if codes != [3, 3]:
            break
    if codes not in ([0, 3], [0, 4]) or testbed.feature_state("chat")["weight_bp"] != 100:
        raise RunFailed(f"two operators at once: {codes}, {testbed.feature_state('chat')}")


async def kill_replica(
    testbed: MigrationTestbed, load: OpenLoopLoad, count: int, log_step: Callable[[str], None]
) -> None:
    """Kill a replica: only streams that had started on it may be cut, and visibly."""
    await testbed.programs["one"].stop(signal.SIGKILL)
    await load.wait_for_requests(count // 3)
    await testbed.programs["one"].start()
    await testbed.wait_until_healthy()
    log_step("kill -9 of one replica, and its restart")


async def roll_back(
    testbed: MigrationTestbed, load: OpenLoopLoad, count: int, log_step: Callable[[str], None]
) -> None:
    """Everything back to hamlet1, and to the proxy again."""
    await testbed.run_command("rollback", "--all", "--why", "drill")
    await asyncio.sleep(1.0)
    first = load.sent
    await load.wait_for_requests(count // 2)
    await load.wait_until_settled()
    arms = {arm for seen in testbed.vendor.arms_since(first).values() for arm in seen}
    if arms != {"legacy"}:
        raise RunFailed(f"after the rollback the vendor was called by {arms}")
    log_step("rollback --all: hamlet1 alone")
    for feature in ("chat", "related_links", "chips"):
        await testbed.run_command("release", feature)
        await testbed.run_command("set", feature, "proxy")
    await load.wait_for_requests(count // 3)
    log_step("forward again: proxy")


def check_cohorts(testbed: MigrationTestbed, load: OpenLoopLoad, first: int) -> str:
    """Check that no user goes back from the new arm and that each request was made by one arm."""
    entries = [
        json.loads(x) for x in (testbed.folder / "state.journal.jsonl").read_text().splitlines()
    ]
    canary_starts = [e["at"] for e in entries if e["after"] == "canary 1%"]
    if not canary_starts:
        raise RunFailed("there was no canary")
    offset = time.time() - time.monotonic()
    by_user: dict[str, list[str]] = {}
    for result in sorted(load.results, key=lambda r: r.number):
        arms = testbed.vendor.arms_by_request.get(result.number)
        # Requests around the transition itself may have been shadowed.
        if (
            arms is None
            or result.number < first
            or result.started_at_s + offset < canary_starts[-1] + 1.5
        ):
            continue
        if len(arms) != 1:
            raise RunFailed(f"request {result.number} was made by {arms}")
        by_user.setdefault(result.user, []).append(arms[0])
    for user, arms in by_user.items():
        if "legacy" in arms[arms.index("new") :] if "new" in arms else False:
            raise RunFailed(f"{user} went back: {arms}")
    moved = sum("new" in arms for arms in by_user.values())
    return f"{moved} of {len(by_user)} users moved, none of them back"


def without_duplicate_holds(journal: list[str]) -> list[str]:
    """Without the second of two equal holds: both replicas may have detected the reason."""
    doubles = [b for a, b in itertools.pairwise(journal) if a == b and "held" in b]
    entries = list(journal)
    for double in doubles:
        entries.remove(double)
    return entries


def check_results(results: list[ClientResult], kill_window: tuple[float, float]) -> None:
    """Raise RunFailed if a client saw what it must not see."""
    wrong = [r for r in results if not r.ok]
    cut = [
        r
        for r in wrong
        if r.stream
        and r.has_started
        and kill_window[0] <= r.started_at_s + r.duration_s <= kill_window[1]
    ]
    bad = [r for r in wrong if r not in cut]
    print(f"{len(results)} requests, {len(bad)} failed, {len(cut)} started streams cut by kill -9")
    if bad:
        raise RunFailed("; ".join(f"{r.number}: {r.error}" for r in bad[:5]))


FULL_RUN = (
    roll_out,
    fail_new_arm,
    roll_out_again,
    restart_replicas,
    restart_hamlet1,
    kill_replica,
    roll_back,
)
SHORT_RUN = (roll_out, restart_replicas, kill_replica, fail_new_arm, roll_back)


async def main(options: argparse.Namespace) -> int:
    begin = time.monotonic()

    def log_step(text: str) -> None:
        print(f"{time.monotonic() - begin:6.1f} s  {text}", flush=True)

    try:
        async with start_testbed(options.edge, options.gate, options.short) as testbed:
            edge = f"http://127.0.0.1:{testbed.ports['edge']}"
            log_step(f"{options.edge}, hamlet1, two replicas and Prometheus run")
            async with OpenLoopLoad(edge, 12.5, keep_alive=options.edge == "envoy") as load:
                await load.wait_for_requests(options.requests // 3)
                killed = 0.0
                for step in SHORT_RUN if options.short else FULL_RUN:
                    killed = time.monotonic() if step is kill_replica else killed
                    await step(testbed, load, options.requests, log_step)
                await load.wait_until_settled()
                journal = without_duplicate_holds(testbed.journal_entries("chat"))
                if (
                    journal
                    != ROLLOUT_ENTRIES
                    + FAILURE_ENTRIES
                    + SECOND_ROLLOUT_ENTRIES * (not options.short)
                    + ROLLBACK_ENTRIES
                ):
                    raise RunFailed(f"the journal is not as expected: {journal}")
                if options.html:
                    await testbed.run_command("report", "--html", str(options.html))
                results = load.results
            check_results(results, (killed, killed + 3))
    except RunFailed as error:
        print(f"FAILED: {error}")
        return 1
    by_kind = Counter("stream" if r.stream else "whole" for r in results)
    print(f"ok: {dict(by_kind)}, the journal is as expected")
    return 0


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--edge", choices=("envoy", "nginx"), default="envoy")
    parser.add_argument("--requests", type=int, default=150)
    parser.add_argument("--gate", type=int, default=10)
    parser.add_argument("--short", action="store_true", help="without the second rollout")
    parser.add_argument("--html", type=Path)
    sys.exit(asyncio.run(main(parser.parse_args())))
