"""Configuration for the edge proxy in front of hamlet and hamlet1.

The edge sends adopted features to hamlet, and to hamlet1 while no hamlet is healthy.
"""

from hamlet.migration.edge.envoy import render_envoy
from hamlet.migration.edge.gateway_api import render_gateway_api
from hamlet.migration.edge.nginx import render_nginx
from hamlet.migration.edge.runtime import write_runtime

__all__ = ["render_envoy", "render_gateway_api", "render_nginx", "write_runtime"]
