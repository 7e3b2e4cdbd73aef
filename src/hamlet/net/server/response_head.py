"""The head of a response: the application's headers and the ones that the server adds."""

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
# How a header's line begins, by its name: each name in use is validated once. The bound is for
# names that are made up for each response.
HEADER_PREFIXES = {label[2:-2]: label for label in (CONTENT_LENGTH, TRANSFER_ENCODING, CONNECTION)}
_MAX_PREFIXES = 512
_ALLOWED_BYTES = bytes([9, *range(32, 127), *range(128, 256)])


class HasDefaultHeaders(Protocol):
    """A server with headers for every response; to change them it makes a new list."""

    default_headers: list[tuple[bytes, bytes]]


class CommonHeaders:
    """The server's headers for every response, rendered once for each list of them."""

    __slots__ = ("_lines", "_pairs", "_server", "closes")

    def __init__(self, server: HasDefaultHeaders) -> None:
        self._server = server
        self._pairs: list[tuple[bytes, bytes]] | None = None
        self._lines = b""
        # Whether the last lines close the connection.
        self.closes = False

    def lines(self) -> bytes:
        """The current lines; uvicorn makes a new list every second, for the date."""
        pairs = self._server.default_headers
        if pairs is not self._pairs:
            self._pairs = pairs
            self._lines = b"".join([header_prefix(n) + v for n, v in pairs])
            self.closes = any(
                header_prefix(n) is CONNECTION and has_close_token(v) for n, v in pairs
            )
        return self._lines


def header_prefix(name: bytes) -> bytes:
    """How a header's line begins; cached. Raises RuntimeError if `name` is not a header name."""
    if _HEADER_NAME.fullmatch(name) is None:
        raise RuntimeError("Invalid HTTP header name.")
    lower = name.lower()
    prefix = HEADER_PREFIXES.get(lower, b"\r\n%b: " % lower)
    if len(HEADER_PREFIXES) < _MAX_PREFIXES:
        HEADER_PREFIXES[name] = prefix
    return prefix


def has_field_lines(text: bytes, count: int) -> bool:
    """Whether `text` has exactly `count` line starts and no other control characters but tabs."""
    return text.translate(None, _ALLOWED_BYTES) == b"\r\n" * count


def has_close_token(value: bytes) -> bool:
    """Whether a `Connection` header closes the connection (RFC 9112, section 9.6)."""
    return b"close" in [token.strip() for token in value.lower().split(b",")]
