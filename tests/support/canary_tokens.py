"""Whatever a test sends through a served hamlet is a canary: it must be in no log, metric or span.

Words and keys of each request are noted on their way in, and looked for once the server has ended.
A leak fails the test that sent it and names the place, never what was said.
"""

import json
import re
from collections.abc import Callable, Iterator
from typing import Any

# Under these names requests carry what people say, in any of the APIs that hamlet speaks.
_TEXT_FIELDS = frozenset(
    ("content", "text", "input", "query", "q", "system", "prompt", "arguments")
)
_SECRET_HEADERS = (b"authorization", b"x-api-key", b"api-key", b"x-hamlet-tester", b"cookie")
# Shorter ones are in other words by chance; of longer ones the beginning and the end suffice.
_MIN_CHARS, _MAX_CHARS = 12, 32
_MIN_DISTINCT_CHARS = 6
_MAX_BODY_BYTES = 1 << 20


class CanaryTokens:
    """Notes what goes into one served application."""

    def __init__(self) -> None:
        self._sent: dict[str, str] = {}

    def wrap(self, app: Any) -> Any:
        """The same ASGI application, overheard."""

        async def recording_app(scope: Any, receive: Any, send: Any) -> None:
            if scope["type"] != "http":
                return await app(scope, receive, send)
            for name, value in scope["headers"]:
                if name in _SECRET_HEADERS:
                    words = value.decode("latin-1").rpartition(" ")[2]
                    self._record(words, f"the header {name.decode()}")
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
            said = json.loads(body)
        except (ValueError, RecursionError):
            return
        for path, words in _iter_texts(said):
            self._record(words, path)

    def _record(self, words: str, where: str) -> None:
        words = words.strip()
        if len(words) >= _MIN_CHARS and len(set(words)) >= _MIN_DISTINCT_CHARS:
            for piece in (words[:_MAX_CHARS], words[-_MAX_CHARS:]):
                self._sent.setdefault(piece, where)
                self._sent.setdefault(json.dumps(piece, ensure_ascii=False)[1:-1], where)

    def assert_absent(
        self, where: str, output: str, describe: Callable[[str], str] = lambda line: ""
    ) -> None:
        """Fail if any of it was printed; `name` tells of a line what may be said of it."""
        lines = None
        for piece, sent in self._sent.items():
            if piece in output:
                lines = output.splitlines() if lines is None else lines
                line = next((line for line in lines if piece in line), "")
                raise AssertionError(f"{where} {describe(line)}tells what was sent in {sent}")


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
    """Of a log line its event and the names of its fields."""
    try:
        fields = json.loads(line)
    except ValueError:
        return "in a line that is no JSON "
    return f"in {fields.get('event', '')!r} ({', '.join(sorted(fields))}) "


def describe_metric_line(line: str) -> str:
    """Of a line of metrics the metric's name."""
    found = re.match(r"(?:# \w+ )?(\w+)", line)
    return f"in {found[1]} " if found else ""
