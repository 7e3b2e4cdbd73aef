"""Whatever a test sends through a served hamlet is a canary: it must be in no log, metric or span.

Words and keys of each request are noted on their way in, and looked for once the server has ended.
A leak fails the test that sent it and names the place, never what was said.
"""

import json
import re
from collections.abc import Callable, Iterator
from typing import Any

# Under these names requests carry what people say, in any of the APIs that hamlet speaks.
_WORDS = frozenset(("content", "text", "input", "query", "q", "system", "prompt", "arguments"))
_KEYS = (b"authorization", b"x-api-key", b"api-key", b"x-hamlet-tester", b"cookie")
# Shorter ones are in other words by chance; of longer ones the beginning and the end suffice.
_LEAST, _MOST = 12, 32
_ENTROPY = 6
_MOST_BODY = 1 << 20


class Canaries:
    """Notes what goes into one served application."""

    def __init__(self) -> None:
        self._sent: dict[str, str] = {}

    def watching(self, app: Any) -> Any:
        """The same ASGI application, overheard."""

        async def overheard(scope: Any, receive: Any, send: Any) -> None:
            if scope["type"] != "http":
                return await app(scope, receive, send)
            for name, value in scope["headers"]:
                if name in _KEYS:
                    words = value.decode("latin-1").rpartition(" ")[2]
                    self._note(words, f"the header {name.decode()}")
            parts: list[bytes] = []

            async def heard() -> Any:
                message = await receive()
                if message["type"] == "http.request":
                    parts.append(message.get("body", b""))
                    if not message.get("more_body"):
                        self._body(b"".join(parts))
                return message

            await app(scope, heard, send)

        return overheard

    def _body(self, body: bytes) -> None:
        if len(body) > _MOST_BODY:
            return
        try:
            said = json.loads(body)
        except (ValueError, RecursionError):
            return
        for path, words in _said(said):
            self._note(words, path)

    def _note(self, words: str, where: str) -> None:
        words = words.strip()
        if len(words) >= _LEAST and len(set(words)) >= _ENTROPY:
            for piece in (words[:_MOST], words[-_MOST:]):
                self._sent.setdefault(piece, where)
                self._sent.setdefault(json.dumps(piece, ensure_ascii=False)[1:-1], where)

    def look(self, where: str, printed: str, name: Callable[[str], str] = lambda line: "") -> None:
        """Fail if any of it was printed; `name` tells of a line what may be said of it."""
        lines = None
        for piece, sent in self._sent.items():
            if piece in printed:
                lines = printed.splitlines() if lines is None else lines
                line = next((line for line in lines if piece in line), "")
                raise AssertionError(f"{where} {name(line)}tells what was sent in {sent}")


def _said(value: Any, path: str = "$", words: bool = False) -> Iterator[tuple[str, str]]:
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from _said(inner, f"{path}.{key}", key in _WORDS)
    elif isinstance(value, list):
        for inner in value:
            yield from _said(inner, f"{path}[]", words)
    elif isinstance(value, str) and words:
        yield path, value


def event_of(line: str) -> str:
    """Of a log line its event and the names of its fields."""
    try:
        fields = json.loads(line)
    except ValueError:
        return "in a line that is no JSON "
    return f"in {fields.get('event', '')!r} ({', '.join(sorted(fields))}) "


def family_of(line: str) -> str:
    """Of a line of metrics the metric's name."""
    found = re.match(r"(?:# \w+ )?(\w+)", line)
    return f"in {found[1]} " if found else ""
