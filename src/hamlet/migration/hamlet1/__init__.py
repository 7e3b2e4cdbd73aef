"""hamlet1's API, served by hamlet: the frontends of the old monolith notice nothing."""

from hamlet.migration.hamlet1.endpoints import hamlet1_endpoints

__all__ = ["hamlet1_endpoints"]
