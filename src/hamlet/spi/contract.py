"""What an adapter can do, by shape: implement the protocols you can, inherit from nothing.

A provider class, found through the entry-point group `hamlet.providers`, has

    api_version: int                      equal to API_VERSION
    Settings: type[ProviderSettings]      its own settings, validated by the host
    cards: Mapping[str, ModelCard]        facts per upstream model; may be empty. The longest name
                                          that the model's begins with counts, so "" is a default
    __init__(settings, runtime)           no I/O

and one or more of the protocols below. Adapters raise only `ProviderError`s; anything else is
taken for a bug of the plugin and reported as UpstreamProtocol.
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
    """Answers a chat call with events in the grammar of `hamlet.core.chat`."""

    def chat(self, request: ChatRequest) -> AsyncGenerator[ChatEvent, None]:
        """Stream the answer. With `request.stream` false, one upstream reply gives all events.

        The host closes the generator; closing it must close the upstream call.
        """
        ...


@runtime_checkable
class SupportsNative(Protocol):
    """The fast lane: forwards a call that already is in the vendor's own dialect."""

    dialect: ClassVar[str]

    def native(self, request: NativeRequest) -> AsyncGenerator[NativeChunk, None]:
        """Forward the call; errors before the first content are raised as in `chat`."""
        ...


@runtime_checkable
class SupportsNativeWhole(Protocol):
    """The fast lane for an answer in one piece; without it `native` serves that too.

    Every call that is no stream would pay for a generator of one item.
    """

    async def native_whole(self, request: NativeRequest) -> NativeChunk:
        """Forward the call and give its whole answer, with `end`; errors as in `chat`."""
        ...


@runtime_checkable
class SupportsEmbeddings(Protocol):
    """Turns texts into vectors."""

    async def embed(self, request: EmbeddingRequest) -> EmbeddingResponse:
        """One vector an input, in order."""
        ...


@runtime_checkable
class SupportsListing(Protocol):
    """Can say which models the account has."""

    async def models(self) -> Sequence[str]:
        """Upstream model ids."""
        ...


@runtime_checkable
class SupportsProbe(Protocol):
    """Can be asked for a sign of life without spending tokens."""

    async def probe(self) -> None:
        """Return when the upstream answers; raise ProviderError when it does not."""
        ...


@runtime_checkable
class SupportsClose(Protocol):
    """Holds something beyond the host's transport."""

    async def aclose(self) -> None:
        """Release it. May be called twice."""
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
