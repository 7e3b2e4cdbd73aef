"""The simulator's public names, where they have always been; it lives in `hamlet.simulator`."""

from hamlet.simulator import *  # noqa: F403
from hamlet.simulator import __all__ as __all__
