"""How a vendor's bytes look: what an adapter's author tells the conformance kit."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any

from hamlet.core import ChatRequest, ChatResponse, FinishReason


class Wire(ABC):
    """Renders answers and errors in one vendor's bytes.

    An answer is given as the ChatResponse that the adapter shall make of it.
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
        """A frame that tells, inside a 200 stream, that the vendor is overloaded."""

    @abstractmethod
    def keepalive(self) -> bytes:
        """A frame that says nothing."""

    @abstractmethod
    def reasons(self) -> Mapping[str, FinishReason]:
        """The vendor's finish reasons and what they mean."""

    @abstractmethod
    def golden(self) -> Mapping[str, Any]:
        """The JSON body that each case of `hamlet.testing.cases.CASES` must be sent as.

        Leave out the cases whose feature the vendor lacks.
        """

    def native(self, request: ChatRequest) -> Mapping[str, Any] | None:
        """What a caller of the vendor's own dialect would send; None without a fast lane."""
        return None
