"""A deterministic extractive model that needs no network and no key."""

from hamlet.providers.embedded.provider import Embedded, EmbeddedSettings

__all__ = ["Embedded", "EmbeddedSettings"]
