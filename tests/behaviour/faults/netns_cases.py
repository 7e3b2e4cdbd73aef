"""What test_network_impairment runs in a network namespace: `python netns_cases.py CASE...`."""

import asyncio
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[2]))

from hamlet.testing import LoopbackUpstream
from support.fault_harness import (
    GOOD_ANSWER_TEXT,
    RETRY_POLICY,
    fault_harness,
    provider,
    respond_ok,
)

PORT = 8099


def run(*words: str, text: str | None = None) -> None:
    subprocess.run(words, check=True, input=text, text=True)


@asynccontextmanager
async def run_resolver(*words: str) -> AsyncIterator[None]:
    """dnsmasq as the only name server."""
    binary = shutil.which("dnsmasq")
    assert binary
    folder = tempfile.mkdtemp()
    common = [
        "--no-daemon",
        "--conf-file=/dev/null",
        "--listen-address=127.0.0.53",
        "--bind-interfaces",
    ]
    common += [f"--pid-file={folder}/pid", "--no-hosts", "--no-resolv", "--user=root"]
    process = await asyncio.create_subprocess_exec(
        binary, *common, *words, stderr=asyncio.subprocess.DEVNULL
    )
    try:
        await asyncio.sleep(0.3)
        assert process.returncode is None, "the resolver runs"
        yield
    finally:
        process.terminate()
        await process.wait()


def silent_resolver() -> socket.socket:
    """A name server that never responds."""
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.bind(("127.0.0.53", 53))
    return sock


async def assert_failover(url: str, *, timeout_s: float, **settings: Any) -> None:
    """Call a route whose first deployment is at `url`; the event loop must not block meanwhile."""
    async with LoopbackUpstream() as good:
        good.respond(respond_ok)
        rows = {"first": provider("openai", url, **settings), "good": provider("openai", good.url)}
        tiers = [[{"provider": name, "model": "m"}] for name in rows]
        policy = {**RETRY_POLICY, "first_token_s": 6, "total_s": 20}
        routes = {"r": {"tiers": tiers, "policy": policy}}
        async with fault_harness({"providers": rows, "routes": routes}) as stage:
            longest = 0.0

            async def tick() -> None:
                nonlocal longest
                while True:
                    begin = time.monotonic()
                    await asyncio.sleep(0.01)
                    longest = max(longest, time.monotonic() - begin)

            ticking = asyncio.create_task(tick())
            begin = time.monotonic()
            response = await stage.chat("r")
            taken = time.monotonic() - begin
            ticking.cancel()
            assert (response.status, response.text) == (200, GOOD_ANSWER_TEXT), response
            assert stage.call_lines(response.id)[0]["attempts"] == 2
            assert taken < timeout_s, taken
            assert longest < 1.0, f"the loop stood still for {longest} s"


async def assert_calls_survive_impairment(impair: Callable[[str], None], calls: int) -> None:
    """Every call over the impaired link completes within its deadline."""
    async with LoopbackUpstream() as upstream:
        upstream.respond(respond_ok)
        rows = {"far": provider("openai", upstream.url, connect_timeout_s=10)}
        policy = {**RETRY_POLICY, "first_token_s": 15, "idle_s": 15, "total_s": 30}
        routes = {"r": {"deployments": [{"provider": "far", "model": "m"}], "policy": policy}}
        async with fault_harness({"providers": rows, "routes": routes}) as stage:
            impair(upstream.url.rpartition(":")[2])
            responses = await asyncio.gather(
                *(stage.chat("r", stream=n % 2 == 0) for n in range(calls))
            )
            assert [one.text for one in responses] == [GOOD_ANSWER_TEXT] * calls
            remove_impairments()


def add_nft_rules(*rules: str) -> None:
    """Add firewall rules."""
    lines = "\n".join(["type filter hook output priority 0", *rules])
    run("nft", "-f", "-", text=f"table inet t {{\nchain c {{\n{lines}\n}}\n}}\n")


def remove_impairments() -> None:
    """Remove all impairments."""
    subprocess.run(["nft", "flush", "ruleset"], check=True)
    subprocess.run(["tc", "qdisc", "del", "dev", "lo", "root"], capture_output=True)


async def black_hole() -> None:
    add_nft_rules(f"tcp dport {PORT} drop")
    await assert_failover(f"http://127.0.0.1:{PORT}", timeout_s=5, connect_timeout_s=1.0)


async def no_such_name() -> None:
    async with run_resolver("--address=/vendor.test/"):
        await assert_failover("http://vendor.test", timeout_s=5)


async def servfail() -> None:
    async with run_resolver():
        await assert_failover("http://vendor.test", timeout_s=6)


async def slow_resolver() -> None:
    with silent_resolver():
        await assert_failover("http://vendor.test", timeout_s=5, connect_timeout_s=1.0)


async def metadata() -> None:
    async with run_resolver("--address=/vendor.test/169.254.169.254"):
        await assert_failover(f"http://vendor.test:{PORT}", timeout_s=4)


async def lossy() -> None:
    def impair(port: str) -> None:
        loss = "numgen random mod 100 < 15 drop"
        add_nft_rules(f"tcp dport {port} {loss}", f"tcp sport {port} {loss}")

    await assert_calls_survive_impairment(impair, calls=12)


async def narrow() -> None:
    def impair(_: str) -> None:
        run("ip", "link", "set", "lo", "mtu", "1400")
        run(
            "tc",
            *[
                "qdisc",
                "add",
                "dev",
                "lo",
                "root",
                "tbf",
                "rate",
                "256kbit",
                "burst",
                "4kb",
                "latency",
                "2s",
            ],
        )

    await assert_calls_survive_impairment(impair, calls=6)


if __name__ == "__main__":
    for case in sys.argv[1:]:
        begin = time.monotonic()
        try:
            asyncio.run(globals()[case]())
        except Exception:
            traceback.print_exc()
            remove_impairments()
        else:
            print(f"{case} is fine: {time.monotonic() - begin:.1f} s", flush=True)
            remove_impairments()
