"""Parsing one connection's responses: strict framing, bounded heads."""

from __future__ import annotations

import httptools

MAX_HEAD_BYTES = 64 << 10
_VERSIONS = ("1.1", "1.0")
_FRAMING_LENGTHS = {
    len(name) for name in (b"content-length", b"transfer-encoding", b"content-encoding")
}


class ResponseParser:
    """Parses the bytes it is fed into one response at a time; `reset` prepares it for the next.

    Framing is as strict as RFC 9112 section 6.3 allows a client to be: one length, or `chunked`
    alone. What llhttp accepts beyond that is refused here. Interim responses (1xx) are skipped.
    """

    __slots__ = (
        "_has_length",
        "_has_surplus",
        "_head_bytes",
        "_is_chunked",
        "_is_interim",
        "_no_body",
        "_parser",
        "_trailer_bytes",
        "body_parts",
        "buffered_bytes",
        "complete",
        "encoding",
        "fields",
        "has_head",
        "keeps_alive",
        "status",
    )  # fmt: skip

    def __init__(self) -> None:
        self._parser = httptools.HttpResponseParser(self)
        self.reset()

    def reset(self, *, no_body: bool = False) -> None:
        """Expect a new response; with `no_body`, as to HEAD, it has none whatever its head says."""
        self.status = 0
        self.has_head = self.complete = self.keeps_alive = False
        self.body_parts: list[bytes] = []
        self.buffered_bytes = 0
        self.encoding = b""
        self.fields: list[tuple[bytes, bytes]] = []
        self._head_bytes = self._trailer_bytes = 0
        self._no_body, self._is_interim = no_body, False
        self._has_length = self._is_chunked = self._has_surplus = False

    def feed(self, data: bytes | memoryview) -> None:
        """Parse. Raises HttpParserError, also for bytes after the end of the response."""
        self._parser.feed_data(data)
        if self._has_surplus:
            raise httptools.HttpParserError("more than one answer")
        if not self.has_head:
            # Counted here and not by field: a field that never ends reaches no callback.
            self._head_bytes += len(data)
            if self._head_bytes > MAX_HEAD_BYTES:
                raise httptools.HttpParserError("the head is too long")

    def ends_with_connection(self) -> bool:
        """Whether the body is framed by nothing but the connection's end."""
        return self.has_head and not (self._has_length or self._is_chunked)

    def pop_body(self, chunk_bytes: int) -> bytes:
        """Take buffered parts of the body, up to the one that reaches `chunk_bytes` bytes."""
        parts = self.body_parts
        if self.buffered_bytes > chunk_bytes:
            size = count = 0
            while size < chunk_bytes:
                size += len(parts[count])
                count += 1
            self.body_parts, self.buffered_bytes = parts[count:], self.buffered_bytes - size
            return b"".join(parts[:count])
        self.body_parts, self.buffered_bytes = [], 0
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def discard_body(self) -> None:
        """Drop the buffered parts of the body."""
        self.body_parts, self.buffered_bytes = [], 0

    # -- called by httptools; what is raised here leaves `feed` as HttpParserError

    def on_message_begin(self) -> None:
        self._has_surplus = self.complete

    def on_header(self, name: bytes, value: bytes) -> None:
        if self.has_head:
            return self._skip_trailer(name, value)
        self.fields.append((name, value))
        # Most names are of another length; lower() is for the few that could matter.
        if len(name) not in _FRAMING_LENGTHS:
            return
        name = name.lower()
        if name == b"content-length":
            self._has_length = True
        elif name == b"transfer-encoding":
            if self._is_chunked or value.strip().lower() != b"chunked":
                raise ValueError("an unknown transfer coding")
            self._is_chunked = True
        elif name == b"content-encoding":
            self.encoding = value.strip().lower()

    def on_headers_complete(self) -> None:
        if self._parser.get_http_version() not in _VERSIONS:
            raise ValueError("not HTTP/1")
        status = self._parser.get_status_code()
        if status < 200:
            self._is_interim = True
            self.fields, self._has_length, self._is_chunked = [], False, False
            return
        self.status, self.has_head = status, True
        self.complete = self._no_body

    def on_body(self, data: bytes) -> None:
        if not self._no_body:
            self.body_parts.append(data)
            self.buffered_bytes += len(data)

    def on_message_complete(self) -> None:
        if self._is_interim:
            self._is_interim = False
            return
        # llhttp knows this only here: after feed_data has returned it always says no.
        self.keeps_alive = not self._no_body and self._parser.should_keep_alive()
        self.complete = True

    def _skip_trailer(self, name: bytes, value: bytes) -> None:
        """Ignore a trailer, but bound all of them together like a head."""
        self._trailer_bytes += len(name) + len(value)
        if self._trailer_bytes > MAX_HEAD_BYTES:
            raise ValueError("the trailers are too long")
