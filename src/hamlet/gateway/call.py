"""What the gateway is called with: the caller and the call."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from msgspec import Struct, field

from hamlet.core import ChatParams, ChatRequest, Feature, Text

# Prompts share a cached prefix if their first so many bytes are equal: vendors cache prefixes of
# 1,024 tokens and more.
_PREFIX_BYTES = (65_536, 16_384, 4_096)


@dataclass(frozen=True, slots=True)
class Caller:
    """The holder of a key. `routes` None allows all; `rate` is (calls, seconds).

    `weight` is the caller's relative share of the slots when hamlet is full.
    """

    name: str = "anonymous"
    routes: frozenset[str] | None = None
    rate: tuple[int, float] | None = None
    admin: bool = False
    weight: float = 1.0

    def can_use_route(self, route: str) -> bool:
        """Whether the caller may use this route."""
        return self.routes is None or route in self.routes


class Call(Struct):
    """A chat call, decoded only as far as routing needs.

    `build_request` makes the full portable request, at most once, and only for a deployment of
    another dialect. `fields` are the top-level JSON values of the caller's body, undecoded.
    `timeout_s` is the caller's own deadline, which can only shorten the route's.
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
        """A call that comes from hamlet itself, with a request that is already portable."""
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
        """(hash, bytes) of prefixes of the prompt, the longest first; none for a short prompt."""
        if self.prompt_bytes < _PREFIX_BYTES[-1] or "messages" not in self.fields:
            return ()
        prompt = bytes(self.fields.get("system", b"")) + bytes(self.fields["messages"])
        return tuple((hash(prompt[:n]), n) for n in _PREFIX_BYTES if len(prompt) >= n)
