"""The contract between hamlet and a provider plugin."""

from hamlet.net.timers.timeouts import Deadline, Watchdog
from hamlet.net.timers.wheel import running_wheel
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
    counted,
    raise_for_upstream,
    retry_after,
    upstream_error,
)
from hamlet.spi.runtime import Log, Runtime
from hamlet.spi.settings import ProviderSettings
from hamlet.spi.sse import Frame, FrameReader, need_events, parse_block, sse

__all__ = [
    "API_VERSION",
    "Deadline",
    "Forwarder",
    "Frame",
    "FrameReader",
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
    "Watchdog",
    "cards_from",
    "counted",
    "forward",
    "need_events",
    "operations",
    "parse_block",
    "raise_for_upstream",
    "retry_after",
    "running_wheel",
    "sse",
    "upstream_error",
]
