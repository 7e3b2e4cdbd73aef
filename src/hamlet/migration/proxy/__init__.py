"""Where requests for features that move from hamlet1 meet their arm."""

from hamlet.migration.proxy.proxy import MigrationProxy, NewArm
from hamlet.migration.proxy.status import cutover_status_router

__all__ = ["MigrationProxy", "NewArm", "cutover_status_router"]
