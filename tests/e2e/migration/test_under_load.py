"""A complete migration with the real programs, in the short form; `make cutover` runs the full one."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from support.paths import ROOT

PROGRAMS = ("node", "envoy", "prometheus")


def is_installed(name: str) -> bool:
    return bool(shutil.which(name) or shutil.which(name, path=Path(sys.executable).parent))


@pytest.mark.timeout(240)
@pytest.mark.skipif(not all(map(is_installed, PROGRAMS)), reason=f"needs {', '.join(PROGRAMS)}")
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
    assert "the journal is the script" in ran.stdout
