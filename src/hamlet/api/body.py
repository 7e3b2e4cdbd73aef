"""Reading a JSON body: parse, then depth and surrogate checks, before any model sees it."""

from __future__ import annotations

import functools
import re
from collections.abc import Iterable, Mapping
from typing import Any, Protocol

import msgspec
from pydantic import ValidationError

from hamlet.core import ChatParams, Feature
from hamlet.core.errors import BadRequest

Fields = dict[str, msgspec.Raw]

MAX_DEPTH = 100
_SURROGATE = re.compile(rb"\\u[dD][89a-fA-F]")
_STRING = re.compile(rb'"[^"\\]*(?:\\.[^"\\]*)*"', re.DOTALL)
_OPENING_BRACKETS, _OPENING_LIST = b"[{", ord("[")
_NOT_BRACKETS = bytes(set(range(256)) - set(b"[]{}"))
_object_decoder = msgspec.json.Decoder(dict[str, msgspec.Raw])


class HasContent(Protocol):
    """A message whose content is not decoded yet."""

    content: msgspec.Raw


def read_fields(body: bytes) -> Fields:
    """The top-level values of a JSON object, undecoded but known to be decodable.

    Raises BadRequest for anything else: invalid UTF-8, NaN, lone surrogates, nesting over
    MAX_DEPTH levels.
    """
    if not body:
        raise BadRequest("the body is empty; a JSON object is needed")
    try:
        body.decode()
        _check_depth(body)
        fields = _object_decoder.decode(body)
        if b"\\" in body and _SURROGATE.search(body):
            # Only a full decode rejects lone surrogates; Raw values are not decoded.
            msgspec.json.decode(body)
    except UnicodeDecodeError:
        raise BadRequest("the body is not UTF-8") from None
    except (msgspec.MsgspecError, RecursionError, UnicodeError) as error:
        raise BadRequest(f"the body is not a valid JSON object: {_reason(error)}") from None
    return fields


def decode(raw: Any, kind: Any, param: str) -> Any:
    """Decode one value as `kind`. Raises BadRequest naming `param` and what is wrong in it."""
    try:
        return _decoder(kind).decode(raw)
    except (msgspec.MsgspecError, RecursionError, UnicodeError) as error:
        reason = _reason(error)
        where = re.search(r"`\$(.+?)`$", reason)
        path = param + (where.group(1) if where else "")
        raise BadRequest(f"{path}: {re.sub(r' - at `.*`$', '', reason)}", param=path) from None


@functools.cache
def _decoder(kind: Any) -> msgspec.json.Decoder[Any]:
    # One per field in the code; to make a decoder for each value costs more than most values.
    return msgspec.json.Decoder(kind)


def require_field(fields: Fields, name: str) -> msgspec.Raw:
    """The field `name`. Raises BadRequest if the caller left it out."""
    if name not in fields:
        raise BadRequest(f"{name}: this field is needed", param=name)
    return fields[name]


def features_of(
    messages: Iterable[HasContent], pattern: re.Pattern[bytes], features: Mapping[bytes, Feature]
) -> set[Feature]:
    """The features that the content parts of these messages use.

    Only JSON lists have parts: plain text, which takes long to search, is skipped.
    """
    found: set[Feature] = set()
    for message in messages:
        raw = memoryview(message.content)
        if raw and raw[0] == _OPENING_LIST:
            found.update([features[each] for each in pattern.findall(raw)])
    return found


def validate_params(portable: Mapping[str, Any]) -> ChatParams:
    """Portable parameters from decoded values. Raises BadRequest naming the first wrong one."""
    try:
        return ChatParams.model_validate(portable)
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False)[0]
        where = ".".join(map(str, first["loc"]))
        raise BadRequest(f"{where}: {first['msg']}", param=where) from None


def _check_depth(body: bytes) -> None:
    # Most bodies do not even have that many brackets; only the others are scanned.
    if not _has_more_brackets_than(body, MAX_DEPTH):
        return
    depth = 0
    for bracket in _STRING.sub(b"", body).translate(None, _NOT_BRACKETS):
        depth += 1 if bracket in _OPENING_BRACKETS else -1
        if depth > MAX_DEPTH:
            raise BadRequest(f"the body is nested over {MAX_DEPTH} levels deep")


def _has_more_brackets_than(body: bytes, limit: int) -> bool:
    """Whether there are more than `limit` opening brackets of one kind."""
    for bracket in (b"[", b"{"):
        # find() is twenty times as fast as count(), which compares byte by byte.
        at = body.find(bracket)
        while at >= 0:
            limit -= 1
            if limit < 0:
                return True
            at = body.find(bracket, at + 1)
    return False


def _reason(error: Exception) -> str:
    return "nested too deep" if isinstance(error, RecursionError) else str(error)
