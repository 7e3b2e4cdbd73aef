"""The protocols of an adapter, by structural typing: implement some, inherit from none.

A provider class, found through the entry-point group `hamlet.providers`, has

    api_version: int                      equal to API_VERSION
    Settings: type[ProviderSettings]      its own settings, validated by the host
    cards: Mapping[str, ModelCard]        facts per upstream model; may be empty. The longest key
                                          that is a prefix of the model's name applies: "" is a
                                          default
    __init__(settings, runtime)           no I/O

and one or more of the protocols below. Adapters raise only `ProviderError`s; any other exception
counts as a bug of the plugin and is reported as UpstreamProtocol.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping, Sequence
from typing import Any, ClassVar, Protocol, runtime_checkable

from hamlet.core import (
    ChatEvent,
    ChatRequest,
    EmbeddingRequest,
    EmbeddingResponse,
    ModelCard,
    NativeChunk,
    NativeRequest,
)
from hamlet.spi.runtime import Runtime
from hamlet.spi.settings import ProviderSettings

API_VERSION = 1


@runtime_checkable
class SupportsChat(Protocol):
    """Serves chat calls by events in the grammar of `hamlet.core.chat`."""

    def chat(self, request: ChatRequest) -> AsyncGenerator[ChatEvent, None]:
        """Stream the response. With `request.stream` false, one upstream reply gives all events.

        The host closes the generator; closing it must close the upstream call.
        """
        ...


@runtime_checkable
class SupportsNative(Protocol):
    """The fast lane: forwards a call that is already in the vendor's own dialect."""

    dialect: ClassVar[str]

    def native(self, request: NativeRequest) -> AsyncGenerator[NativeChunk, None]:
        """Forward the call; errors before the first content are raised as in `chat`."""
        ...


@runtime_checkable
class SupportsNativeWhole(Protocol):
    """The fast lane for calls without streaming; without it `native` serves those too.

    This spares each of them a generator of one item.
    """

    async def native_whole(self, request: NativeRequest) -> NativeChunk:
        """Forward the call; returns the complete response, with `end`. Errors as in `chat`."""
        ...


@runtime_checkable
class SupportsEmbeddings(Protocol):
    """Turns texts into vectors."""

    async def embed(self, request: EmbeddingRequest) -> EmbeddingResponse:
        """One vector per input, in order."""
        ...


@runtime_checkable
class SupportsListing(Protocol):
    """Lists the models of the account."""

    async def models(self) -> Sequence[str]:
        """Upstream model ids."""
        ...


@runtime_checkable
class SupportsProbe(Protocol):
    """Can check that the upstream is alive without spending tokens."""

    async def probe(self) -> None:
        """Return if the upstream responds; raise ProviderError if it does not."""
        ...


@runtime_checkable
class SupportsClose(Protocol):
    """Holds resources beyond the host's transport."""

    async def aclose(self) -> None:
        """Release them. Idempotent."""
        ...


class Provider(Protocol):
    """The class a plugin registers."""

    api_version: ClassVar[int]
    Settings: ClassVar[type[ProviderSettings]]
    cards: ClassVar[Mapping[str, ModelCard]]

    def __init__(self, settings: Any, runtime: Runtime) -> None: ...


_OPERATION_METHODS = {
    "chat": "chat",
    "native": "native",
    "native_whole": "native_whole",
    "embeddings": "embed",
    "listing": "models",
    "probe": "probe",
}


def operations(provider: object) -> tuple[str, ...]:
    """The names of the operations a provider (class or instance) supports."""
    return tuple(
        name
        for name, method in _OPERATION_METHODS.items()
        if callable(getattr(provider, method, None))
    )
