"""The whole move on real parts, at the size of a commit; `make cutover` plays it at full size."""

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
def test_a_feature_moves_under_load_and_no_client_sees_it() -> None:
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
