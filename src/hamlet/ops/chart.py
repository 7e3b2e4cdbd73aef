"""pygal, without its hook into Python's imports.

The hook, for maps we have none of, speaks a protocol that Python gave up: with it in place every
import that fails anywhere in the process warns.
"""

from __future__ import annotations

import sys

import pygal
from pygal.style import Style

sys.meta_path[:] = [finder for finder in sys.meta_path if type(finder).__module__ != "pygal"]

__all__ = ["Style", "pygal"]
