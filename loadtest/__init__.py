"""Load, chaos and bench: engine drives, scenarios and bench use it, tools make what is committed."""

from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
"""The repository."""
