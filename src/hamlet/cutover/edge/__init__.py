"""What stands in front: which features go to hamlet at all, and hamlet1 where hamlet is unwell."""

from hamlet.cutover.edge.envoy import envoy
from hamlet.cutover.edge.gateway_api import gateway_api
from hamlet.cutover.edge.nginx import nginx
from hamlet.cutover.edge.runtime import write_runtime

__all__ = ["envoy", "gateway_api", "nginx", "write_runtime"]
