"""Vectors as bytes."""

import math

import pytest

from hamlet.core import (
    pack,
    unpack,
)


def test_packed_vectors_round_trip() -> None:
    assert unpack(pack([1.0, -0.5, math.pi])) == pytest.approx([1.0, -0.5, math.pi])
