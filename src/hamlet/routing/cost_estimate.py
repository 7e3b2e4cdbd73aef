"""Estimates of the tokens of a call before it is made."""

from __future__ import annotations

from msgspec import Struct

from hamlet.core import Feature, Usage

_BYTES_PER_TOKEN = 4.0
_LEARNING_RATE = 0.05
_INITIAL_OUTPUT_TOKENS = 300.0


class CostEstimate(Struct, frozen=True):
    """Estimated tokens of a call, and what it needs of a deployment.

    `output_tokens` is what the call reserves, `likely_output_tokens` what it will probably use.
    `prefixes` are (hash, tokens) of prefixes of the prompt, the longest first.
    """

    input_tokens: float = 0.0
    output_tokens: float = 0.0
    likely_output_tokens: float = 0.0
    stream: bool = True
    sheddable: bool = False
    features: frozenset[Feature] = frozenset()
    prefixes: tuple[tuple[int, float], ...] = ()


class TokenEstimator:
    """Learns, for one route, the tokens per byte of prompt and the length of responses.

    It starts at four bytes a token, which is within a third for English, Korean and Japanese: UTF-8
    takes three bytes for characters that need more tokens.
    """

    __slots__ = ("_mean_output_tokens", "_tokens_per_byte")

    def __init__(self) -> None:
        self._tokens_per_byte = 1 / _BYTES_PER_TOKEN
        self._mean_output_tokens = _INITIAL_OUTPUT_TOKENS

    def estimate_input_tokens(self, size_bytes: int) -> float:
        """Tokens of a prompt of `size_bytes`."""
        return size_bytes * self._tokens_per_byte

    def estimate_output_tokens(self, max_tokens: int | None) -> tuple[float, float]:
        """Output tokens to reserve, and those that are likely, under the caller's `max_tokens`."""
        if max_tokens is None:
            return self._mean_output_tokens, self._mean_output_tokens
        return float(max_tokens), min(self._mean_output_tokens, max_tokens)

    def learn(self, size_bytes: int, usage: Usage) -> None:
        """Learn from the usage of a call."""
        if usage.estimated:
            return
        input_tokens, output_tokens = (
            valid_count(usage.input_tokens),
            valid_count(usage.output_tokens),
        )
        if size_bytes and input_tokens:
            observed = min(max(input_tokens / size_bytes, 0.02), 2.0)
            self._tokens_per_byte += _LEARNING_RATE * (observed - self._tokens_per_byte)
        if output_tokens:
            self._mean_output_tokens += _LEARNING_RATE * (output_tokens - self._mean_output_tokens)


def valid_count(count: object) -> float | None:
    """A vendor's count if it is plausible: vendors have sent negative ones and strings."""
    return float(count) if isinstance(count, int) and 0 <= count < 10_000_000 else None
