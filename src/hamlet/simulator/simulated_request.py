"""The parts of a request that the simulator reads: model, limits and token counts.

A marker in the text, `[sim in=1200 out=80 cached=0]`, sets the prompt's tokens and those of the
answer, so that traces can be replayed without megabytes of text. With `seed=7` the latency is
drawn from that seed, so it does not depend on the deployment or on other requests. The last marker
of a body counts.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

import msgspec

from hamlet.simulator.admission_buckets import TokenDemand

_MARKER = re.compile(rb"\[sim((?: \w+=\d+)+)\]")
_MARKER_OPTION = re.compile(rb" (in|out|cached|seed)=(\d{1,9})")
_BYTES_PER_TOKEN = 4


@dataclass(frozen=True, slots=True)
class SimulatedRequest:
    """A chat request, as far as a simulated deployment depends on it."""

    model: str
    stream: bool
    tokens: TokenDemand
    output_tokens: int | None = None
    include_usage: bool = True
    seed: int | None = None

    def output_length(self, default_tokens: int) -> tuple[int, bool]:
        """The number of output tokens, and whether the limit truncated the answer."""
        wanted = default_tokens if self.output_tokens is None else self.output_tokens
        limit = self.tokens.max_output_tokens
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
    """The text that makes a request count `prompt` tokens and get `output` tokens in return."""
    drawn = "" if seed is None else f" seed={seed}"
    return f"[sim in={prompt} out={output} cached={cached}{drawn}]"


def parse_request(body: bytes) -> SimulatedRequest:
    """The request in a JSON body of either wire. Raises ValueError for an invalid body."""
    try:
        parsed = _decoder.decode(body)
    except (msgspec.MsgspecError, RecursionError, UnicodeError) as error:
        raise ValueError(f"the body is no chat request: {type(error).__name__}") from None
    options = _marker_options(body)
    prompt_bytes = sum(
        len(memoryview(raw)) for raw in (parsed.messages, parsed.system, parsed.tools)
    )
    cost = TokenDemand(
        options.get("in", max(1, prompt_bytes // _BYTES_PER_TOKEN)),
        options.get("cached", 0),
        parsed.max_completion_tokens or parsed.max_tokens,
    )
    usage = not parsed.stream or bool(parsed.stream_options and parsed.stream_options.include_usage)
    return SimulatedRequest(
        parsed.model, parsed.stream, cost, options.get("out"), usage, options.get("seed")
    )


def _marker_options(body: bytes) -> dict[str, int]:
    marks = _MARKER.findall(body) if b"[sim " in body else []
    words: list[Any] = _MARKER_OPTION.findall(marks[-1]) if marks else []
    return {name.decode(): int(value) for name, value in words}
