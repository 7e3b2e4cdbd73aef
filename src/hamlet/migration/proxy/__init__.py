"""Where requests for features that move from hamlet1 meet their arm."""

from hamlet.migration.proxy.proxy import Crossing, NewArm
from hamlet.migration.proxy.status import cutover_status

__all__ = ["Crossing", "NewArm", "cutover_status"]
