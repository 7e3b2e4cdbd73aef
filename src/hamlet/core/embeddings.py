"""Embedding calls: texts in, packed vectors out."""

from __future__ import annotations

from array import array
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from hamlet.core.usage import Usage


@dataclass(frozen=True, slots=True)
class EmbeddingRequest:
    """Texts to embed. Inside an adapter `model` is the upstream id."""

    model: str
    inputs: tuple[str, ...]
    dimensions: int | None = None
    user: str | None = None
    extra: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class EmbeddingResponse:
    """One vector an input, in order, each as little-endian float32 bytes."""

    model: str
    vectors: tuple[bytes, ...]
    usage: Usage


def pack(vector: list[float]) -> bytes:
    """Floats as little-endian float32 bytes."""
    return array("f", vector).tobytes()


def unpack(vector: bytes) -> list[float]:
    """The floats of a packed vector."""
    return array("f", vector).tolist()
