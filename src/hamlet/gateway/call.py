"""What an ingress hands to the gateway: who calls, and what for."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from msgspec import Struct, field

from hamlet.core import ChatParams, ChatRequest, Feature, Text

# Ever longer beginnings by which prompts are told alike: vendors cache from 1,024 tokens on.
_PREFIX_BYTES = (65_536, 16_384, 4_096)


@dataclass(frozen=True, slots=True)
class Caller:
    """Whoever holds a key. `routes` None allows all; `rate` is (calls, seconds).

    `weight` is its part of the places when hamlet is full.
    """

    name: str = "anonymous"
    routes: frozenset[str] | None = None
    rate: tuple[int, float] | None = None
    admin: bool = False
    weight: float = 1.0

    def can_use_route(self, route: str) -> bool:
        """Whether the caller may name this route."""
        return self.routes is None or route in self.routes


class Call(Struct):
    """A chat call, decoded only as far as routing needs.

    `build` makes the full portable request; it runs only if a deployment of another dialect is
    asked, at most once. `fields` are the caller's own top-level JSON values, undecoded; `size` is
    the prompt's in bytes. `total_s` is the caller's own deadline: it can only shorten the route's.
    """

    model: str
    stream: bool
    params: ChatParams
    features: frozenset[Feature]
    build_request: Callable[[], ChatRequest]
    dialect: str | None = None
    fields: Mapping[str, Any] = field(default_factory=dict)
    prompt_bytes: int = 0
    request_id: str = ""
    timeout_s: float | None = None
    _request: ChatRequest | None = None

    @classmethod
    def from_request(cls, request: ChatRequest, request_id: str = "") -> Call:
        """A call from inside hamlet, already portable."""
        texts = (p.text for m in request.messages for p in m.parts if isinstance(p, Text))
        return cls(
            model=request.model,
            stream=request.stream,
            params=request.params,
            features=request.features,
            build_request=lambda: request,
            prompt_bytes=sum(len(text.encode("utf-8", "replace")) for text in texts),
            request_id=request_id,
        )

    @property
    def request(self) -> ChatRequest:
        """The portable request."""
        if self._request is None:
            self._request = self.build_request()
        return self._request

    def hash_prefixes(self) -> tuple[tuple[int, int], ...]:
        """(hash, bytes) of the prompt's beginnings, the longest first; of short prompts none."""
        if self.prompt_bytes < _PREFIX_BYTES[-1] or "messages" not in self.fields:
            return ()
        prompt = bytes(self.fields.get("system", b"")) + bytes(self.fields["messages"])
        return tuple((hash(prompt[:n]), n) for n in _PREFIX_BYTES if len(prompt) >= n)
