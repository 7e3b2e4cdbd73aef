"""The head of an answer: written from what an application says, and from what the server adds."""

from __future__ import annotations

import re
from http import HTTPStatus
from typing import Protocol

LENGTH, CODING, CONNECTION = (
    b"\r\ncontent-length: ",
    b"\r\ntransfer-encoding: ",
    b"\r\nconnection: ",
)
STATUS_LINES = {code: b"HTTP/1.1 %d " % code for code in range(100, 600)} | {
    status.value: f"HTTP/1.1 {status.value} {status.phrase}".encode() for status in HTTPStatus
}
_NAME = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
# How headers begin in an answer, by their names: the few that are in use are looked at once. The
# bound is for what is made up.
LABELS = {label[2:-2]: label for label in (LENGTH, CODING, CONNECTION)}
_MOST = 512
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
            self._lines = b"".join([label(n) + v for n, v in pairs])
            self.closes = any(label(n) is CONNECTION and says_close(v) for n, v in pairs)
        return self._lines


def label(name: bytes) -> bytes:
    """A header's name as LABELS has it, and remember it. Raises RuntimeError if it is none."""
    if _NAME.fullmatch(name) is None:
        raise RuntimeError("Invalid HTTP header name.")
    lower = name.lower()
    made = LABELS.get(lower, b"\r\n%b: " % lower)
    if len(LABELS) < _MOST:
        LABELS[name] = made
    return made


def are_lines(text: bytes, count: int) -> bool:
    """Whether so many lines begin in it, and there is no other control character but tabs."""
    return text.translate(None, _TEXT) == b"\r\n" * count


def says_close(value: bytes) -> bool:
    """Whether a `Connection` header ends the connection."""
    return b"close" in [token.strip() for token in value.lower().split(b",")]
