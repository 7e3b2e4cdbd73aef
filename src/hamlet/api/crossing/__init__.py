"""Where requests for features that move from hamlet1 meet their arm."""

from hamlet.api.crossing.crossing import Crossing, NewArm
from hamlet.api.crossing.status import cutover_status

__all__ = ["Crossing", "NewArm", "cutover_status"]
