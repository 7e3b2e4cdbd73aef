"""Texts and keys that tests send through a served hamlet must be in no log, metric or span.

They are recorded from each request and searched for once the server has ended. A leak fails the test
and names the place, never the text.
"""

import json
import re
from collections.abc import Callable, Iterator
from typing import Any

# Fields that carry user text, in any of the APIs that hamlet serves.
_TEXT_FIELDS = frozenset(
    ("content", "text", "input", "query", "q", "system", "prompt", "arguments")
)
_SECRET_HEADERS = (b"authorization", b"x-api-key", b"api-key", b"x-hamlet-tester", b"cookie")
# Shorter texts occur elsewhere by chance; of longer ones the first and last characters suffice.
_MIN_CHARS, _MAX_CHARS = 12, 32
_MIN_DISTINCT_CHARS = 6
_MAX_BODY_BYTES = 1 << 20


class CanaryTokens:
    """Records the user text and keys that are sent to one served application."""

    def __init__(self) -> None:
        self._sent: dict[str, str] = {}

    def wrap(self, app: Any) -> Any:
        """The same ASGI application, with its requests recorded."""

        async def recording_app(scope: Any, receive: Any, send: Any) -> None:
            if scope["type"] != "http":
                return await app(scope, receive, send)
            for name, value in scope["headers"]:
                if name in _SECRET_HEADERS:
                    text = value.decode("latin-1").rpartition(" ")[2]
                    self._record(text, f"the header {name.decode()}")
            parts: list[bytes] = []

            async def recording_receive() -> Any:
                message = await receive()
                if message["type"] == "http.request":
                    parts.append(message.get("body", b""))
                    if not message.get("more_body"):
                        self._record_body(b"".join(parts))
                return message

            await app(scope, recording_receive, send)

        return recording_app

    def _record_body(self, body: bytes) -> None:
        if len(body) > _MAX_BODY_BYTES:
            return
        try:
            document = json.loads(body)
        except (ValueError, RecursionError):
            return
        for path, text in _iter_texts(document):
            self._record(text, path)

    def _record(self, text: str, where: str) -> None:
        text = text.strip()
        if len(text) >= _MIN_CHARS and len(set(text)) >= _MIN_DISTINCT_CHARS:
            for piece in (text[:_MAX_CHARS], text[-_MAX_CHARS:]):
                self._sent.setdefault(piece, where)
                self._sent.setdefault(json.dumps(piece, ensure_ascii=False)[1:-1], where)

    def assert_absent(
        self, where: str, output: str, describe: Callable[[str], str] = lambda line: ""
    ) -> None:
        """Raises AssertionError if a recorded text is in `output`.

        `describe` turns the line with the leak into a description without the text.
        """
        lines = None
        for piece, sent in self._sent.items():
            if piece in output:
                lines = output.splitlines() if lines is None else lines
                line = next((line for line in lines if piece in line), "")
                raise AssertionError(f"{where} {describe(line)}contains what was sent in {sent}")


def _iter_texts(value: Any, path: str = "$", is_text: bool = False) -> Iterator[tuple[str, str]]:
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from _iter_texts(inner, f"{path}.{key}", key in _TEXT_FIELDS)
    elif isinstance(value, list):
        for inner in value:
            yield from _iter_texts(inner, f"{path}[]", is_text)
    elif isinstance(value, str) and is_text:
        yield path, value


def describe_log_line(line: str) -> str:
    """The event of a log line and the names of its fields."""
    try:
        fields = json.loads(line)
    except ValueError:
        return "in a line that is no JSON "
    return f"in {fields.get('event', '')!r} ({', '.join(sorted(fields))}) "


def describe_metric_line(line: str) -> str:
    """The name of the metric of an exposition line."""
    found = re.match(r"(?:# \w+ )?(\w+)", line)
    return f"in {found[1]} " if found else ""
