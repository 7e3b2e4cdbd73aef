"""The head of an answer: written from what an application says, and from what the server adds."""

from __future__ import annotations

import re
from http import HTTPStatus
from typing import Protocol

CONTENT_LENGTH, TRANSFER_ENCODING, CONNECTION = (
    b"\r\ncontent-length: ",
    b"\r\ntransfer-encoding: ",
    b"\r\nconnection: ",
)
STATUS_LINES = {code: b"HTTP/1.1 %d " % code for code in range(100, 600)} | {
    status.value: f"HTTP/1.1 {status.value} {status.phrase}".encode() for status in HTTPStatus
}
_HEADER_NAME = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
# How headers begin in an answer, by their names: the few that are in use are looked at once. The
# bound is for what is made up.
HEADER_PREFIXES = {label[2:-2]: label for label in (CONTENT_LENGTH, TRANSFER_ENCODING, CONNECTION)}
_MAX_PREFIXES = 512
_ALLOWED_BYTES = bytes([9, *range(32, 127), *range(128, 256)])


class HasDefaultHeaders(Protocol):
    """A server that has headers for every answer; a change of them is a new list."""

    default_headers: list[tuple[bytes, bytes]]


class CommonHeaders:
    """What a server says on every answer, written once for each list of it."""

    __slots__ = ("_lines", "_pairs", "_server", "closes")

    def __init__(self, server: HasDefaultHeaders) -> None:
        self._server = server
        self._pairs: list[tuple[bytes, bytes]] | None = None
        self._lines = b""
        # Whether the last lines say that the connection is not to be used again.
        self.closes = False

    def lines(self) -> bytes:
        """The lines in force; uvicorn makes a new list every second, for the date."""
        pairs = self._server.default_headers
        if pairs is not self._pairs:
            self._pairs = pairs
            self._lines = b"".join([header_prefix(n) + v for n, v in pairs])
            self.closes = any(
                header_prefix(n) is CONNECTION and has_close_token(v) for n, v in pairs
            )
        return self._lines


def header_prefix(name: bytes) -> bytes:
    """A header's name as LABELS has it, and remember it. Raises RuntimeError if it is none."""
    if _HEADER_NAME.fullmatch(name) is None:
        raise RuntimeError("Invalid HTTP header name.")
    lower = name.lower()
    prefix = HEADER_PREFIXES.get(lower, b"\r\n%b: " % lower)
    if len(HEADER_PREFIXES) < _MAX_PREFIXES:
        HEADER_PREFIXES[name] = prefix
    return prefix


def has_field_lines(text: bytes, count: int) -> bool:
    """Whether so many lines begin in it, and there is no other control character but tabs."""
    return text.translate(None, _ALLOWED_BYTES) == b"\r\n" * count


def has_close_token(value: bytes) -> bool:
    """Whether a `Connection` header ends the connection."""
    return b"close" in [token.strip() for token in value.lower().split(b",")]
