"""What both dialects detect in a body before its messages are decoded."""

import json
from collections.abc import Callable
from typing import Any

import pytest

from hamlet.api.body import MAX_DEPTH, read_fields
from hamlet.api.dialects.anthropic import parse as anthropic
from hamlet.api.dialects.openai import parse as openai
from hamlet.core import ChatParams, Feature
from hamlet.core.errors import BadRequest

IMAGE_PART = {
    openai.parse: {"type": "image_url", "image_url": {"url": "https://x.example/a.png"}},
    anthropic.parse: {"type": "image", "source": {"type": "url", "url": "https://x.example/a.png"}},
}
Parse = Callable[..., Any]


def parse_features(parse: Parse, content: object, indent: int | None = None) -> frozenset[Feature]:
    turns = [{"role": "user", "content": content}, {"role": "user", "content": "And now?"}]
    body = json.dumps({"model": "m", "max_tokens": 5, "messages": turns}, indent=indent)
    found: frozenset[Feature] = parse(read_fields(body.encode()), "req_1").features
    return found


@pytest.mark.parametrize("parse", IMAGE_PART)
@pytest.mark.parametrize("indent", [None, 2])
def test_image_part_is_detected(parse: Parse, indent: int | None) -> None:
    parts = [{"type": "text", "text": "What is this?"}, IMAGE_PART[parse]]
    assert parse_features(parse, parts, indent) == {Feature.IMAGES}


@pytest.mark.parametrize("parse", IMAGE_PART)
def test_text_that_mentions_an_image_needs_no_feature(parse: Parse) -> None:
    said = json.dumps(IMAGE_PART[parse])
    assert parse_features(parse, said) == frozenset()
    assert parse_features(parse, [{"type": "text", "text": said}]) == frozenset()


@pytest.mark.parametrize("opening", ["[", '{"a":'])
def test_nesting_is_limited_but_not_the_number_of_brackets(opening: str) -> None:
    closing = "]" if opening == "[" else "}"
    deep = f'{{"x": {opening * (MAX_DEPTH + 1)}1{closing * (MAX_DEPTH + 1)}}}'
    with pytest.raises(BadRequest, match="nested"):
        read_fields(deep.encode())
    flat = f'{{"x": [{", ".join([f"{opening}1{closing}"] * MAX_DEPTH * 2)}]}}'
    assert list(read_fields(flat.encode())) == ["x"]


def test_lone_surrogate_is_rejected_but_not_an_escape() -> None:
    with pytest.raises(BadRequest):
        read_fields(rb'{"x": "\ud800"}')
    assert list(read_fields(rb'{"x": "a\\b\u00e9\ud83d\ude00"}')) == ["x"]


def test_verbosity_is_portable_and_has_three_levels() -> None:
    def parse(verbosity: str) -> ChatParams:
        turns = [{"role": "user", "content": "Hi"}]
        body = json.dumps({"model": "m", "messages": turns, "verbosity": verbosity})
        params: ChatParams = openai.parse(read_fields(body.encode()), "req_1").params
        return params

    assert parse("low") == ChatParams(verbosity="low")
    with pytest.raises(BadRequest, match="verbosity"):
        parse("loud")
