"""Who belongs to the new arm: a hash of who asks, so that growing a share only adds members."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from hashlib import blake2b

import msgspec

from hamlet.cutover.model import WHOLE

_fields = msgspec.json.Decoder(dict[str, msgspec.Raw])
_text = msgspec.json.Decoder(str | int)
_API_KEYS = (b"authorization", b"x-api-key", b"api-key")


def bucket(salt: str, feature: str, key: str) -> int:
    """A number below WHOLE; the same on every replica. In the new arm if it is below the share."""
    digest = blake2b(f"{salt}\0{feature}\0{key}".encode("utf-8", "surrogatepass"), digest_size=8)
    return int.from_bytes(digest.digest(), "big") % WHOLE


class KeyReader:
    """Finds what tells one user or conversation from another in a request."""

    def __init__(self, names: Sequence[str]) -> None:
        """`names` are fields of the JSON body, or `header:NAME`; the first that is there counts."""
        self._names = [(name, _header(name)) for name in names]
        self._needs_body = any(header is None for _, header in self._names)

    def key(self, headers: Iterable[tuple[bytes, bytes]], body: bytes) -> str | None:
        """The key; the API key where no name is there, None where that is not either."""
        fields = _decoded(body) if self._needs_body and body[:1] == b"{" else {}
        sent = dict(headers)
        for name, header in self._names:
            found = (
                _value(fields, name) if header is None else sent.get(header, b"").decode("latin-1")
            )
            if found:
                return found
        for name_ in _API_KEYS:
            if name_ in sent:
                return sent[name_].decode("latin-1")
        return None


def _header(name: str) -> bytes | None:
    of_header = name.startswith("header:")
    return name.removeprefix("header:").lower().encode("latin-1") if of_header else None


def _decoded(body: bytes) -> Mapping[str, msgspec.Raw]:
    try:
        return _fields.decode(body)
    except (msgspec.MsgspecError, UnicodeError, RecursionError):
        return {}


def _value(fields: Mapping[str, msgspec.Raw], name: str) -> str:
    if name not in fields:
        return ""
    try:
        return str(_text.decode(fields[name]))
    except (msgspec.MsgspecError, UnicodeError):
        return ""
