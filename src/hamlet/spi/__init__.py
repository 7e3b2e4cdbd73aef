"""The contract between hamlet and a provider plugin."""

from typing import TYPE_CHECKING

from hamlet.net.timers.timeouts import Deadline, IdleTimeout
from hamlet.net.timers.timer_wheel import running_wheel
from hamlet.spi.cards import cards_from
from hamlet.spi.contract import (
    API_VERSION,
    Provider,
    SupportsChat,
    SupportsClose,
    SupportsEmbeddings,
    SupportsListing,
    SupportsNative,
    SupportsNativeWhole,
    SupportsProbe,
    operations,
)
from hamlet.spi.forward import Forwarder, forward
from hamlet.spi.http import (
    Reply,
    Transport,
    parse_positive_int,
    raise_for_upstream,
    retry_after,
    upstream_error,
)
from hamlet.spi.runtime import Log, Runtime
from hamlet.spi.settings import ProviderSettings
from hamlet.spi.sse import Frame, FrameReader, parse_block, require_event_stream, sse

__all__ = [
    "API_VERSION",
    "Deadline",
    "Forwarder",
    "Frame",
    "FrameReader",
    "IdleTimeout",
    "Log",
    "Provider",
    "ProviderSettings",
    "Reply",
    "Runtime",
    "SupportsChat",
    "SupportsClose",
    "SupportsEmbeddings",
    "SupportsListing",
    "SupportsNative",
    "SupportsNativeWhole",
    "SupportsProbe",
    "Transport",
    "cards_from",
    "forward",
    "operations",
    "parse_block",
    "parse_positive_int",
    "raise_for_upstream",
    "require_event_stream",
    "retry_after",
    "running_wheel",
    "sse",
    "upstream_error",
]

if not TYPE_CHECKING:

    def __getattr__(name: str) -> object:
        """The names of the release before."""
        from hamlet.spi.deprecated import resolve

        return resolve(name)
