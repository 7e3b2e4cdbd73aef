"""Where things stand in the repository."""

from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
NODE = ROOT / "tests/e2e/node"
