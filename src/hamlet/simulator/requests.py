"""What the simulator reads of a request: the model, the limits, and how long it pretends to be.

A marker in the text, `[sim in=1200 out=80 cached=0]`, says how many tokens the prompt counts and
the answer shall have, so that traces can be replayed without megabytes of text. With `seed=7` the
answer's times are drawn from that seed: the same wherever, and beside whomever, it is asked. The
last marker of the body counts.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

import msgspec

from hamlet.simulator.capacity import Cost

_MARK = re.compile(rb"\[sim((?: \w+=\d+)+)\]")
_WORD = re.compile(rb" (in|out|cached|seed)=(\d{1,9})")
_BYTES_PER_TOKEN = 4


@dataclass(frozen=True, slots=True)
class Ask:
    """A chat request, as far as a deployment's behaviour depends on it."""

    model: str
    stream: bool
    cost: Cost
    wanted: int | None = None
    tells_usage: bool = True
    seed: int | None = None

    def output(self, usual: int) -> tuple[int, bool]:
        """How many tokens the answer has, and whether the limit cut it off."""
        wanted = usual if self.wanted is None else self.wanted
        limit = self.cost.max_output
        return (wanted, False) if limit is None else (min(wanted, limit), wanted > limit)


class _Options(msgspec.Struct):
    include_usage: bool = False


class _Body(msgspec.Struct):
    model: str = ""
    stream: bool = False
    max_tokens: int | None = None
    max_completion_tokens: int | None = None
    stream_options: _Options | None = None
    messages: msgspec.Raw = msgspec.Raw(b"")
    system: msgspec.Raw = msgspec.Raw(b"")
    tools: msgspec.Raw = msgspec.Raw(b"")


_decoder = msgspec.json.Decoder(_Body)


def marker(prompt: int, output: int, cached: int = 0, seed: int | None = None) -> str:
    """The text that makes a request count `prompt` tokens and be answered with `output`."""
    drawn = "" if seed is None else f" seed={seed}"
    return f"[sim in={prompt} out={output} cached={cached}{drawn}]"


def read_ask(body: bytes) -> Ask:
    """The ask in a JSON body of either wire. Raises ValueError if it is none."""
    try:
        sent = _decoder.decode(body)
    except (msgspec.MsgspecError, RecursionError, UnicodeError) as error:
        raise ValueError(f"the body is no chat request: {type(error).__name__}") from None
    said = _marked(body)
    counted = sum(len(memoryview(raw)) for raw in (sent.messages, sent.system, sent.tools))
    cost = Cost(
        said.get("in", max(1, counted // _BYTES_PER_TOKEN)),
        said.get("cached", 0),
        sent.max_completion_tokens or sent.max_tokens,
    )
    usage = not sent.stream or bool(sent.stream_options and sent.stream_options.include_usage)
    return Ask(sent.model, sent.stream, cost, said.get("out"), usage, said.get("seed"))


def _marked(body: bytes) -> dict[str, int]:
    marks = _MARK.findall(body) if b"[sim " in body else []
    words: list[Any] = _WORD.findall(marks[-1]) if marks else []
    return {name.decode(): int(value) for name, value in words}
