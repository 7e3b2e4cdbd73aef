"""Checks a configuration and the machine that it is to run on, and advises what to fix."""

from hamlet.doctor.examine import examine
from hamlet.doctor.finding import Finding, Level

__all__ = ["Finding", "Level", "examine"]
