"""A complete migration with the real programs, in the short form; `make cutover` runs the full one."""

import subprocess
import sys

import pytest

from support.paths import ROOT


@pytest.mark.timeout(240)
@pytest.mark.external("node", "envoy", "prometheus")
def test_feature_migrates_under_load_without_client_errors() -> None:
    ran = subprocess.run(
        [
            sys.executable,
            "-m",
            "loadtest.scenarios.migration",
            "--short",
            "--requests",
            "24",
            "--gate",
            "2",
        ],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=230,
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr[-2000:]
    assert " 0 failed" in ran.stdout
    assert "the journal is as expected" in ran.stdout
