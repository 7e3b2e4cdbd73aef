"""Opens the state store that a configuration names."""

from __future__ import annotations

from hamlet.config import CutoverConfig
from hamlet.migration.file_store import FileStore
from hamlet.migration.redis_store import RedisStateStore
from hamlet.migration.state_store import StateStore


def open_store(config: CutoverConfig) -> StateStore:
    """The Redis store if `cutover.redis` is set, else the file of `cutover.state`."""
    if config.redis is not None:
        return RedisStateStore(config.redis.get_secret_value())
    return FileStore(config.state)
