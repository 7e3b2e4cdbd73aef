"""A response as it was sent, and what can be derived from it without knowing its API."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import msgspec

from hamlet.config.cutover import PriceConfig

Headers = list[tuple[bytes, bytes]]

# Fields whose values differ from one response to the next by design.
_VOLATILE_FIELDS = frozenset(
    ("id", "ts", "took", "created", "created_at", "request_id", "system_fingerprint", "token")
)
_FINISH_FIELDS = frozenset(("finish", "finish_reason", "stop_reason"))
_TRUNCATED_REASONS = frozenset(("length", "max_tokens"))
_REFUSAL_PATTERN = re.compile(
    r"i(?:'|’)?m sorry,? but|i can(?:'|’)?t (?:help|assist)|i cannot (?:help|assist)|as an ai\b"
    r"|도와드릴 수 없|답변할 수 없|お手伝いできません|お答えできません",
    re.IGNORECASE,
)
_MAX_LEAVES = 20_000
_INPUT_TOKEN_FIELDS = ("in", "prompt_tokens", "input_tokens")
_OUTPUT_TOKEN_FIELDS = ("out", "completion_tokens", "output_tokens")


@dataclass(slots=True)
class SseEvent:
    """One server-sent event: its name and its data, decoded if it is JSON."""

    name: str
    data: Any


@dataclass
class CapturedResponse:
    """A recorded response. `first_byte_s` and `total_s` are seconds since the request was sent."""

    status: int
    headers: Headers
    body: bytes
    first_byte_s: float | None = None
    total_s: float = 0.0
    is_complete: bool = True

    @property
    def is_server_failure(self) -> bool:
        """Whether the server failed: an incomplete response, a 5xx or a 429."""
        return not self.is_complete or self.status >= 500 or self.status == 429

    def header(self, name: str) -> str | None:
        """The first value of a header, or None."""
        wanted = name.encode()
        found = next((value for key, value in self.headers if key.lower() == wanted), None)
        return None if found is None else found.decode("latin-1")

    @cached_property
    def media_type(self) -> str:
        """The content type without parameters, in lower case: `application/json`."""
        return (self.header("content-type") or "").partition(";")[0].strip().lower()

    @cached_property
    def events(self) -> list[SseEvent]:
        """The events of a stream, without comments; any other body is one event."""
        if self.media_type != "text/event-stream":
            return [SseEvent("", _decode_json(self.body))]
        return list(_parse_sse(self.body.decode("utf-8", "replace")))

    @cached_property
    def event_sequence(self) -> list[str]:
        """The names of the events in order, with repetitions collapsed."""
        names = [event.name for event in self.events]
        return [name for i, name in enumerate(names) if i == 0 or names[i - 1] != name]

    @cached_property
    def types_by_path(self) -> dict[str, set[str]]:
        """The JSON types found at each path; the elements of a list share one path."""
        shape: dict[str, set[str]] = {}
        for event in self.events:
            for path, value in _walk_leaves(event.data, event.name or "$"):
                shape.setdefault(path, set()).add(_json_type(value))
        return shape

    @cached_property
    def leaf_values(self) -> list[tuple[str, Any]]:
        """All values except the volatile ones; the text pieces of a stream are joined."""
        joined: dict[str, Any] = {}
        for event in self.events:
            for path, value in _walk_leaves(event.data, event.name or "$"):
                if path.rpartition(".")[2] in _VOLATILE_FIELDS or isinstance(value, (dict, list)):
                    continue
                old = joined.get(path)
                both_text = isinstance(old, str) and isinstance(value, str)
                joined[path] = old + value if both_text else value
        return sorted(joined.items(), key=lambda pair: pair[0])

    @cached_property
    def text(self) -> str:
        """All natural-language text in the response."""
        skipped = _FINISH_FIELDS | {"model", "object", "role", "type", "lang"}
        words = (v for p, v in self.leaf_values if p.rpartition(".")[2] not in skipped)
        return "\n".join(word for word in words if isinstance(word, str))

    @cached_property
    def finish_reason(self) -> str | None:
        """Why the model stopped, in the API's own term, if the response says."""
        reasons = [v for p, v in self.leaf_values if p.rpartition(".")[2] in _FINISH_FIELDS and v]
        return str(reasons[-1]) if reasons else None

    @property
    def input_tokens(self) -> float | None:
        """Prompt tokens, if the response reports them."""
        return self._last_number(_INPUT_TOKEN_FIELDS)

    @property
    def output_tokens(self) -> float | None:
        """Completion tokens, if the response reports them."""
        return self._last_number(_OUTPUT_TOKEN_FIELDS)

    def cost_usd(self, price: PriceConfig) -> float | None:
        """Its cost in US dollars; None if the response does not report its tokens."""
        read, written = self.input_tokens, self.output_tokens
        if read is None or written is None:
            return None
        return (read * price.input + written * price.output) / 1e6

    def _last_number(self, names: tuple[str, ...]) -> float | None:
        found = [v for p, v in self.leaf_values if p.rpartition(".")[2] in names]
        return next((v for v in reversed(found) if isinstance(v, (int, float))), None)

    @property
    def is_refusal(self) -> bool:
        """Whether the text looks like a refusal. A heuristic."""
        return _REFUSAL_PATTERN.search(self.text[:400]) is not None

    @property
    def is_low_quality(self) -> bool:
        """Whether the response is empty, truncated or a refusal."""
        return (
            not self.is_complete
            or not self.text.strip()
            or self.finish_reason in _TRUNCATED_REASONS
            or self.is_refusal
        )


def _decode_json(body: bytes) -> Any:
    try:
        return msgspec.json.decode(body)
    except (msgspec.MsgspecError, UnicodeError, RecursionError):
        return body.decode("utf-8", "replace")


def _parse_sse(text: str) -> Iterator[SseEvent]:
    """https://html.spec.whatwg.org/multipage/server-sent-events.html"""
    for block in re.split(r"\r?\n\r?\n", text):
        name, data = "", []
        for line in block.splitlines():
            field, _, value = line.partition(":")
            if field == "event":
                name = value.strip()
            elif field == "data":
                data.append(value.removeprefix(" "))
        if not data:
            continue
        joined = "\n".join(data)
        if joined == "[DONE]":
            yield SseEvent("[DONE]", None)
        else:
            yield SseEvent(name or "data", _decode_json(joined.encode()))


def _walk_leaves(value: Any, path: str) -> Iterator[tuple[str, Any]]:
    stack, count = [(path, value)], 0
    while stack and count < _MAX_LEAVES:
        path, value = stack.pop()
        count += 1
        yield path, value
        if isinstance(value, dict):
            stack.extend((f"{path}.{key}", inner) for key, inner in value.items())
        elif isinstance(value, list):
            stack.extend((f"{path}[]", inner) for inner in reversed(value))


def _json_type(value: Any) -> str:
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "boolean"
    if isinstance(value, (int, float)):
        return "number"
    if isinstance(value, str):
        return "string"
    return "array" if isinstance(value, list) else "object"
