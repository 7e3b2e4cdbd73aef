"""Shared by all tests. httpx2 must answer to the name httpx before anything imports httpx."""

import httpx2

httpx2.alias_httpx()

import hypothesis  # noqa: E402
import pytest  # noqa: E402

from support.programs import find_program  # noqa: E402

# A busy machine is no failure: no test of a property is about its time.
hypothesis.settings.register_profile("hamlet", deadline=None)
hypothesis.settings.load_profile("hamlet")

# Fixtures that start programs outside Python, and the programs.
EXTERNAL_FIXTURES = {
    "browser": ("chromium",),
    "case_output": ("ip", "nft", "dnsmasq"),
    "redis": ("redis-server", "redis-cli"),
    "redis_url": ("redis-server", "redis-cli"),
}
# Tests that start processes or load, and those that wait for timeouts over real sockets.
SLOW_PATHS = (
    "tests/behaviour/faults/test_slow_clients.py",
    "tests/behaviour/routing/test_learned_state.py",
    "tests/compat",
    "tests/e2e/cli",
    "tests/e2e/migration",
    "tests/e2e/sdk",
    "tests/e2e/serving",
    "tests/load",
)


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what is slow by its path, and what needs a program by its fixtures."""
    for item in items:
        if item.nodeid.startswith(SLOW_PATHS):
            item.add_marker(pytest.mark.slow)
        for fixture in set(getattr(item, "fixturenames", ())) & EXTERNAL_FIXTURES.keys():
            item.add_marker(pytest.mark.external(*EXTERNAL_FIXTURES[fixture]))


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip what needs a program that is not installed."""
    needed = {name for mark in item.iter_markers("external") for name in mark.args}
    if missing := sorted(name for name in needed if find_program(name) is None):
        pytest.skip(f"not installed: {', '.join(missing)}")
