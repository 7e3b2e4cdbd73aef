"""A response as a timeline, for a server over sockets or a transport on virtual time."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Literal, NamedTuple

StartAction = Literal["answer", "abort", "refuse", "hang"]
EndAction = Literal["whole", "cut", "reset", "hang"]
JSON = "application/json"


class BodyChunk(NamedTuple):
    """`data` to send after `wait_s` seconds; it contains `tokens` of the answer."""

    wait_s: float
    data: bytes
    tokens: int


class ResponseTimeline:
    """Status, headers and the chunks of the body; the head is sent with the first chunk.

    The sender waits for `next_chunk` and takes it with `take_chunk` until there is none, and calls
    `finish` at the end, in every case and at least once. `start_action` replaces the response;
    `end` is how the body ends: properly, by a closed connection ("cut"), by a reset, or never.
    """

    __slots__ = (
        "_chunks",
        "_on_finish",
        "end",
        "headers",
        "next_chunk",
        "output_tokens",
        "start_action",
        "status",
    )

    def __init__(
        self,
        status: int = 200,
        headers: Mapping[str, str] = {},
        chunks: Iterable[BodyChunk] = (),
        *,
        start_action: StartAction = "answer",
        end: EndAction = "whole",
        on_finish: Callable[[int, bool, float], None] | None = None,
    ) -> None:
        self.status = status
        self.headers = headers
        self.start_action: StartAction = start_action
        self.end: EndAction = end
        self.output_tokens = 0
        self._chunks: Iterator[BodyChunk] = iter(chunks)
        self._on_finish = on_finish
        self.next_chunk = next(self._chunks, None)

    @property
    def is_complete(self) -> bool:
        """Whether everything was sent and the body ends properly."""
        return self.next_chunk is None and self.end == "whole"

    def take_chunk(self) -> bytes:
        """The bytes of the next chunk, which are sent now."""
        chunk = self.next_chunk
        assert chunk is not None
        self.output_tokens += chunk.tokens
        self.next_chunk = next(self._chunks, None)
        return chunk.data

    def finish(self, now: float) -> None:
        """The response ended or the client disconnected, at `now` (seconds). Idempotent."""
        if self._on_finish is not None:
            on_finish, self._on_finish = self._on_finish, None
            on_finish(self.output_tokens, self.is_complete, now)


def full_response(
    status: int, body: bytes, content_type: str = JSON, wait_s: float = 0.0, **headers: str
) -> ResponseTimeline:
    """A response in one chunk after `wait_s` seconds; header names have _ for -."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return ResponseTimeline(
        status, {"content-type": content_type, **named}, [BodyChunk(wait_s, body, 0)]
    )
