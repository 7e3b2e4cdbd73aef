"""The head of an answer: written from what an application says, and from what the server adds."""

from __future__ import annotations

import re
from http import HTTPStatus
from typing import Protocol

LENGTH, CODING, CONNECTION = b"content-length: ", b"transfer-encoding: ", b"connection: "
STATUS_LINES = {code: b"HTTP/1.1 %d \r\n" % code for code in range(100, 600)} | {
    status.value: f"HTTP/1.1 {status.value} {status.phrase}\r\n".encode() for status in HTTPStatus
}
_NAME = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
# By name, so that the few which are in use are looked at once; the bound is for what is made up.
_LABELS = {label[:-2]: label for label in (LENGTH, CODING, CONNECTION)}
_MOST_LABELS = 512
_TEXT = bytes([9, *range(32, 127), *range(128, 256)])


class Says(Protocol):
    """A server that has headers for every answer; a change of them is a new list."""

    default_headers: list[tuple[bytes, bytes]]


class CommonHeaders:
    """What a server says on every answer, written once for each list of it."""

    __slots__ = ("_lines", "_pairs", "_server", "closes")

    def __init__(self, server: Says) -> None:
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
            self._lines = b"".join([b"%b: %b\r\n" % pair for pair in pairs])
            self.closes = any(label(n) is CONNECTION and says_close(v) for n, v in pairs)
        return self._lines


def label(name: bytes) -> bytes:
    """A header's name as it is written: b"name: ". Raises RuntimeError if it cannot be one."""
    known = _LABELS.get(name)
    if known is not None:
        return known
    if _NAME.fullmatch(name) is None:
        raise RuntimeError("Invalid HTTP header name.")
    lower = name.lower()
    made = _LABELS.get(lower, lower + b": ")
    if len(_LABELS) < _MOST_LABELS:
        _LABELS[name] = made
    return made


def are_lines(text: bytes, count: int) -> bool:
    """Whether these are so many lines, without any other control character but tabs."""
    return text.translate(None, _TEXT) == b"\r\n" * count


def says_close(value: bytes) -> bool:
    """Whether a `Connection` header ends the connection."""
    return b"close" in [token.strip() for token in value.lower().split(b",")]
