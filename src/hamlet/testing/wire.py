"""A vendor's wire format, as the conformance kit needs it from an adapter's author."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any

from hamlet.core import ChatRequest, ChatResponse, FinishReason


class Wire(ABC):
    """Renders answers and errors in one vendor's bytes.

    Each method gets the ChatResponse that the adapter must decode from the bytes.
    """

    model: str = "model-1"
    kind: str
    """The entry-point name, under which `provider_options` reach the adapter."""

    @abstractmethod
    def whole(self, answer: ChatResponse) -> bytes:
        """The JSON body of a whole answer."""

    @abstractmethod
    def frames(self, answer: ChatResponse, pieces: int = 3) -> list[bytes]:
        """The SSE frames of the same answer, texts and arguments cut into `pieces`."""

    @abstractmethod
    def error(self, status: int) -> bytes:
        """The JSON body of an error with this status."""

    @abstractmethod
    def stream_error(self) -> bytes:
        """A frame that reports, inside a stream with status 200, that the vendor is overloaded."""

    @abstractmethod
    def keepalive(self) -> bytes:
        """A frame without content."""

    @abstractmethod
    def reasons(self) -> Mapping[str, FinishReason]:
        """The vendor's finish reasons and what they mean."""

    @abstractmethod
    def golden(self) -> Mapping[str, Any]:
        """The JSON body that each case of `hamlet.testing.cases.CASES` must be sent as.

        Leave out the cases whose feature the vendor lacks.
        """

    def native(self, request: ChatRequest) -> Mapping[str, Any] | None:
        """The body of a caller who uses the vendor's own dialect; None without a fast lane."""
        return None
