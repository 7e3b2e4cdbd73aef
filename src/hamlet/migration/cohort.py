"""Who belongs to the new arm: a hash of who asks, so that growing a share only adds members."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from hashlib import blake2b

import msgspec

from hamlet.migration.model import WHOLE

_text = msgspec.json.Decoder(str | int)
_API_KEYS = (b"authorization", b"x-api-key", b"api-key")


class Cohort:
    """Places the users of one feature; the same on every replica that has the same salt."""

    def __init__(self, salt: str, feature: str) -> None:
        # What all keys have in common is hashed once.
        self._begun = blake2b(
            f"{salt}\0{feature}\0".encode("utf-8", "surrogatepass"), digest_size=8
        )

    def bucket(self, key: str) -> int:
        """A number below WHOLE. In the new arm if it is below the share."""
        digest = self._begun.copy()
        digest.update(key.encode("utf-8", "surrogatepass"))
        return int.from_bytes(digest.digest(), "big") % WHOLE


class KeyReader:
    """Finds what tells one user or conversation from another in a request."""

    def __init__(self, names: Sequence[str]) -> None:
        """`names` are fields of the JSON body, or `header:NAME`; the first that is there counts."""
        self._names = [(name, _header(name)) for name in names]
        fields = list(dict.fromkeys(name for name, header in self._names if header is None))
        # Only what may be the key is looked at; the rest of a body is skipped, whatever its size.
        self._places = {name: f"f{i}" for i, name in enumerate(fields)}
        wanted = [
            (place, msgspec.Raw, msgspec.field(default=_NOTHING, name=name))
            for name, place in self._places.items()
        ]
        self._fields = msgspec.json.Decoder(msgspec.defstruct("Fields", wanted))

    def key(self, headers: Iterable[tuple[bytes, bytes]], body: bytes) -> str | None:
        """The key; the API key where no name is there, None where that is not either."""
        fields = self._decoded(body) if self._places and body[:1] == b"{" else None
        for name, header in self._names:
            found = _sent(headers, header) if header else self._value(fields, name)
            if found:
                return found
        sent = dict(headers)
        return next((sent[name].decode("latin-1") for name in _API_KEYS if name in sent), None)

    def _decoded(self, body: bytes) -> msgspec.Struct | None:
        try:
            return self._fields.decode(body)
        except (msgspec.MsgspecError, UnicodeError, RecursionError):
            return None

    def _value(self, fields: msgspec.Struct | None, name: str) -> str:
        try:
            return str(_text.decode(getattr(fields, self._places[name]))) if fields else ""
        except (msgspec.MsgspecError, UnicodeError):
            return ""


_NOTHING = msgspec.Raw(b"null")


def _header(name: str) -> bytes | None:
    of_header = name.startswith("header:")
    return name.removeprefix("header:").lower().encode("latin-1") if of_header else None


def _sent(headers: Iterable[tuple[bytes, bytes]], wanted: bytes) -> str:
    found = b""
    for name, value in headers:
        if name == wanted:
            found = value
    return found.decode("latin-1")
