"""What a call asks of a deployment, and how well that can be guessed beforehand."""

from __future__ import annotations

from msgspec import Struct

from hamlet.core import Feature, Usage

_BYTES_PER_TOKEN = 4.0
_LEARN = 0.05
_OUTPUT_GUESS = 300.0


class Demand(Struct, frozen=True):
    """Tokens are estimates until the call has ended.

    `output_tokens` is what the call reserves, `likely_output` what it will probably use.
    `prefixes` are (hash, tokens) of ever longer beginnings of the prompt, the longest first.
    """

    input_tokens: float = 0.0
    output_tokens: float = 0.0
    likely_output: float = 0.0
    stream: bool = True
    sheddable: bool = False
    features: frozenset[Feature] = frozenset()
    prefixes: tuple[tuple[int, float], ...] = ()


class Estimator:
    """Learns, for one route, how many tokens a byte of prompt makes and how long answers are.

    Four bytes a token holds within a third for English, Korean and Japanese alike, since UTF-8
    spends three bytes on what those write with fewer tokens; what is left is learned.
    """

    __slots__ = ("_output", "_tokens_per_byte")

    def __init__(self) -> None:
        self._tokens_per_byte = 1 / _BYTES_PER_TOKEN
        self._output = _OUTPUT_GUESS

    def input_tokens(self, size: int) -> float:
        """Tokens of a prompt of `size` bytes."""
        return size * self._tokens_per_byte

    def output_tokens(self, limit: int | None) -> tuple[float, float]:
        """Tokens that an answer reserves, and those it likely has, under the caller's limit."""
        if limit is None:
            return self._output, self._output
        return float(limit), min(self._output, limit)

    def learn(self, size: int, usage: Usage) -> None:
        """Take in what a call really used."""
        if usage.estimated:
            return
        read, written = tokens(usage.input_tokens), tokens(usage.output_tokens)
        if size and read:
            seen = min(max(read / size, 0.02), 2.0)
            self._tokens_per_byte += _LEARN * (seen - self._tokens_per_byte)
        if written:
            self._output += _LEARN * (written - self._output)


def tokens(count: object) -> float | None:
    """A vendor's count, if it is one: negative ones and strings have been seen."""
    return float(count) if isinstance(count, int) and 0 <= count < 10_000_000 else None
