"""Calls over an impaired network in a network namespace: lost packets, failing name servers.

Needs root, `ip`, `nft` and `dnsmasq`; elsewhere these tests are skipped.
"""

import os
import shutil
import subprocess
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

NETNS_SCRIPT = Path(__file__).with_name("netns_cases.py")

CASES = ["black_hole", "no_such_name", "servfail", "slow_resolver", "metadata", "lossy", "narrow"]


def run(*words: str) -> None:
    subprocess.run(words, check=True, capture_output=True)


@pytest.fixture(scope="module")
def case_output() -> Iterator[str]:
    """The output of a process that runs all cases, one by one, in a new network namespace."""
    if os.geteuid() != 0:
        pytest.skip("a network name space needs root")
    name = f"hamlet-{uuid.uuid4().hex[:8]}"
    if subprocess.run(["ip", "netns", "add", name], capture_output=True).returncode:
        pytest.skip("this kernel or container allows no network name space")
    folder = Path("/etc/netns") / name
    try:
        run("ip", "-n", name, "link", "set", "lo", "up")
        folder.mkdir(parents=True)
        (folder / "resolv.conf").write_text("nameserver 127.0.0.53\noptions timeout:2 attempts:1\n")
        words = ["ip", "netns", "exec", name, sys.executable, str(NETNS_SCRIPT), *CASES]
        done = subprocess.run(words, capture_output=True, text=True, timeout=150)
        yield done.stdout + done.stderr
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        subprocess.run(["ip", "netns", "del", name], capture_output=True)


@pytest.mark.timeout(180)
@pytest.mark.parametrize("case", CASES)
def test_call_succeeds_over_impaired_network(case_output: str, case: str) -> None:
    assert f"{case} is fine" in case_output, case_output[-6000:]
