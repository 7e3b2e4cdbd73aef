"""Examines a configuration and the machine it is to run on, and says what to do."""

from hamlet.doctor.examine import examine
from hamlet.doctor.finding import Finding, Level

__all__ = ["Finding", "Level", "examine"]
