"""What stands in front: which features go to hamlet at all, and hamlet1 where hamlet is unwell."""

from hamlet.migration.edge.envoy import render_envoy
from hamlet.migration.edge.gateway_api import render_gateway_api
from hamlet.migration.edge.nginx import render_nginx
from hamlet.migration.edge.runtime import write_runtime

__all__ = ["render_envoy", "render_gateway_api", "render_nginx", "write_runtime"]
