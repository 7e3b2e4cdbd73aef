"""hamlet1's HTTP API, served by hamlet, so that existing frontends need no change."""

from hamlet.migration.hamlet1.endpoints import hamlet1_endpoints

__all__ = ["hamlet1_endpoints"]
