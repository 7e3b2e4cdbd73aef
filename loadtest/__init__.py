"""Load tests: the engine, the scenarios and benches that use it, and tools that write committed files."""

from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
"""The root of the repository."""
