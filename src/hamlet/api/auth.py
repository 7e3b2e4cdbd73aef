"""API keys: who is calling."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import replace

from hamlet.config import KeyConfig
from hamlet.core.errors import Forbidden, Unauthenticated
from hamlet.gateway import Caller

ANONYMOUS = Caller()
_NO_ROUTES: frozenset[str] = frozenset()


class Keyring:
    """Looks keys up by their SHA-256, so that neither timing nor memory reveals a key."""

    def __init__(self, keys: tuple[KeyConfig, ...]) -> None:
        self._by_digest = {_digest_of(key): (key, _caller_of(key)) for key in keys}

    @property
    def is_empty(self) -> bool:
        """Whether no keys are configured."""
        return not self._by_digest

    def map_caller(self, caller: Caller) -> Caller:
        """A caller authenticated elsewhere, under the name that this keyring gives it."""
        return caller

    def authenticate(self, headers: Mapping[str, str]) -> Caller:
        """The caller whose key the headers carry. Raises Unauthenticated or Forbidden.

        With no keys configured every caller is anonymous and may use every route.
        """
        if not self._by_digest:
            return ANONYMOUS
        given = presented_key(headers)
        if not given:
            raise Unauthenticated("an API key is needed")
        found = self._by_digest.get(hashlib.sha256(given.encode("utf-8", "replace")).digest())
        if found is None:
            raise Unauthenticated("the API key is not known")
        key, caller = found
        if key.kind == "publishable" and key.origins and headers.get("origin") not in key.origins:
            raise Forbidden("this key may not be used from here")
        return caller


class ShadowKeyring(Keyring):
    """The same callers for shadow requests: under other names and without a rate limit."""

    def __init__(self, real: Keyring) -> None:
        self._real = real

    @property
    def is_empty(self) -> bool:
        return self._real.is_empty

    def authenticate(self, headers: Mapping[str, str]) -> Caller:
        return self.map_caller(self._real.authenticate(headers))

    def map_caller(self, caller: Caller) -> Caller:
        return replace(caller, name=f"shadow:{caller.name}", rate=None)


def presented_key(headers: Mapping[str, str]) -> str:
    """The key a request carries: `Authorization: Bearer`, `x-api-key` or `api-key`."""
    scheme, _, token = headers.get("authorization", "").partition(" ")
    if scheme.lower() == "bearer" and token:
        return token.strip()
    return headers.get("x-api-key") or headers.get("api-key") or ""


def _digest_of(key: KeyConfig) -> bytes:
    if key.hash is not None:
        return bytes.fromhex(key.hash.removeprefix("sha256:"))
    assert key.secret is not None, "the config demands one of the two"
    return hashlib.sha256(key.secret.get_secret_value().encode()).digest()


def _caller_of(key: KeyConfig) -> Caller:
    routes = frozenset(key.routes) if key.routes is not None else None
    if key.kind == "publishable" and routes is None:
        # Every visitor of a page can read the key, so its routes must be listed.
        routes = _NO_ROUTES
    return Caller(key.name, routes, key.rate, key.admin, key.weight)
