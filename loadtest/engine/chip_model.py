"""A fake model that writes chips about the query of its prompt."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

_KINDS = ("howto", "compare", "deepen", "followup")
_ENDINGS = (
    "고르는 법",
    "비교하기",
    "더 알아보기",
    "쉽게 정리",
    "주의할 점",
    "비용 계산",
    "순서",
    "예시",
)
_COUNT_PATTERN = re.compile(r"Write (\d+) suggestions")
_QUERY_PATTERN = re.compile(r'kind="query">\s*(.+?)\s*</data')
_HEAD = {"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "gpt-4o-mini"}


def prompt_text(messages: Sequence[Mapping[str, Any]]) -> str:
    """The whole prompt."""
    return "\n".join(str(message["content"]) for message in messages)


def chip_lines(prompt: str) -> list[str]:
    """As many lines of JSON as the prompt asks for, about its query or else its last line."""
    count_match, query = _COUNT_PATTERN.search(prompt), _QUERY_PATTERN.search(prompt)
    words = (query[1] if query else prompt.rpartition("\n")[2])[:60]
    return [_chip_line(words, i) for i in range(int(count_match[1]) if count_match else 8)]


def _chip_line(words: str, i: int) -> str:
    first = (words.split() or ["오늘"])[0][:9]
    end = _ENDINGS[i % len(_ENDINGS)]
    row = {"t": f"{first} {end}", "p": f"{words} {end}", "k": _KINDS[i % len(_KINDS)]}
    return json.dumps(row, ensure_ascii=False) + "\n"


def completion_events(
    pieces: Iterable[str], usage: Mapping[str, int] | None = None
) -> Iterator[bytes]:
    """A streamed completion as OpenAI sends it: one event per piece, the finish reason, usage, [DONE]."""
    for piece in pieces:
        yield _chunk_event([{"index": 0, "delta": {"content": piece}, "finish_reason": None}])
    yield _chunk_event([{"index": 0, "delta": {}, "finish_reason": "stop"}])
    if usage:
        yield _chunk_event([], usage=usage)
    yield b"data: [DONE]\n\n"


def _chunk_event(choices: list[dict[str, Any]], **more: Any) -> bytes:
    return b"data: " + json.dumps({**_HEAD, "choices": choices, **more}).encode() + b"\n\n"
