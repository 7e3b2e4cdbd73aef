"""A model that needs no network and no key: honest, deterministic, extractive."""

from hamlet.providers.embedded.provider import Embedded, EmbeddedSettings

__all__ = ["Embedded", "EmbeddedSettings"]
