"""What stands in front: which features go to hamlet at all, and hamlet1 where hamlet is unwell."""

from hamlet.migration.edge.envoy import envoy
from hamlet.migration.edge.gateway_api import gateway_api
from hamlet.migration.edge.nginx import nginx
from hamlet.migration.edge.runtime import write_runtime

__all__ = ["envoy", "gateway_api", "nginx", "write_runtime"]
