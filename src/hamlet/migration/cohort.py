"""Assigns users to arms by a hash of their key, so that a growing share only adds users."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from hashlib import blake2b

import msgspec

from hamlet.migration.rollout_document import FULL_SHARE_BP

_scalar_decoder = msgspec.json.Decoder(str | int)
_API_KEY_HEADERS = (b"authorization", b"x-api-key", b"api-key")


class Cohort:
    """Hashes the users of one feature; the same on every replica with the same salt."""

    def __init__(self, salt: str, feature: str) -> None:
        # The prefix that all keys share is hashed once.
        self._base_hash = blake2b(
            f"{salt}\0{feature}\0".encode("utf-8", "surrogatepass"), digest_size=8
        )

    def bucket(self, key: str) -> int:
        """A number in [0, FULL_SHARE_BP). The user is on the new arm if it is below the share."""
        digest = self._base_hash.copy()
        digest.update(key.encode("utf-8", "surrogatepass"))
        return int.from_bytes(digest.digest(), "big") % FULL_SHARE_BP


class CohortKeyExtractor:
    """Extracts the key that identifies a user or conversation from a request."""

    def __init__(self, names: Sequence[str]) -> None:
        """`names` are fields of the JSON body or `header:NAME`; the first that is present wins."""
        self._sources = [(name, _parse_header_source(name)) for name in names]
        fields = list(dict.fromkeys(name for name, header in self._sources if header is None))
        # Only the candidate fields are decoded; the rest of the body is skipped, whatever its size.
        self._struct_fields = {name: f"f{i}" for i, name in enumerate(fields)}
        wanted = [
            (attribute, msgspec.Raw, msgspec.field(default=_ABSENT, name=name))
            for name, attribute in self._struct_fields.items()
        ]
        self._body_decoder = msgspec.json.Decoder(msgspec.defstruct("Fields", wanted))

    def extract(self, headers: Iterable[tuple[bytes, bytes]], body: bytes) -> str | None:
        """The key; the API key if none of the names is present, None without that either."""
        fields = self._decode_body(body) if self._struct_fields and body[:1] == b"{" else None
        for name, header in self._sources:
            found = (
                _last_header_value(headers, header) if header else self._field_value(fields, name)
            )
            if found:
                return found
        sent = dict(headers)
        return next(
            (sent[name].decode("latin-1") for name in _API_KEY_HEADERS if name in sent), None
        )

    def _decode_body(self, body: bytes) -> msgspec.Struct | None:
        try:
            return self._body_decoder.decode(body)
        except (msgspec.MsgspecError, UnicodeError, RecursionError):
            return None

    def _field_value(self, fields: msgspec.Struct | None, name: str) -> str:
        try:
            return (
                str(_scalar_decoder.decode(getattr(fields, self._struct_fields[name])))
                if fields
                else ""
            )
        except (msgspec.MsgspecError, UnicodeError):
            return ""


_ABSENT = msgspec.Raw(b"null")


def _parse_header_source(name: str) -> bytes | None:
    is_header = name.startswith("header:")
    return name.removeprefix("header:").lower().encode("latin-1") if is_header else None


def _last_header_value(headers: Iterable[tuple[bytes, bytes]], header: bytes) -> str:
    found = b""
    for name, value in headers:
        if name == header:
            found = value
    return found.decode("latin-1")
