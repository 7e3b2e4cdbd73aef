"""The HTTP proxy that routes each request of a migrating feature to one of its arms."""

from hamlet.migration.proxy.proxy import MigrationProxy, NewArm
from hamlet.migration.proxy.status import cutover_status_router

__all__ = ["MigrationProxy", "NewArm", "cutover_status_router"]
