"""Programs outside Python that tests run."""

import os
import shutil
import sys
from pathlib import Path

from support.paths import ROOT

_FOLDERS = (
    Path(sys.executable).parent,
    ROOT / ".tools/bin",
    os.environ.get("PATH", ""),
    "/usr/sbin",
)
PROGRAM_PATH = os.pathsep.join(map(str, _FOLDERS))


def find_program(name: str) -> str | None:
    """Its path: of this environment, of `.tools`, on PATH or in /usr/sbin."""
    return shutil.which(name, path=PROGRAM_PATH)
