"""Access tokens of Microsoft Entra ID, cached until shortly before they expire."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from urllib.parse import quote, urlencode

from hamlet.core import errors
from hamlet.providers.openai.settings import Settings
from hamlet.spi import Runtime, raise_for_upstream

_RENEW_EARLY_S = 300.0
_JWT_BEARER = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
_FORM = {"content-type": "application/x-www-form-urlencoded"}


class EntraToken:
    """One token for all calls of a provider; at most one request renews it at a time."""

    def __init__(self, settings: Settings, runtime: Runtime) -> None:
        self._settings = settings
        self._now = runtime.now
        self._http = runtime.http(settings.model_copy(update={"base_url": settings.authority}))
        self._lock = asyncio.Lock()
        self._token = ""
        self._renew_at = 0.0

    async def authorization_header(self) -> dict[str, str]:
        """The authorization header. Raises UpstreamAuth if the sign-in is refused."""
        if self._now() >= self._renew_at:
            async with self._lock:
                if self._now() >= self._renew_at:
                    await self._renew()
        return {"authorization": f"Bearer {self._token}"}

    def invalidate(self) -> None:
        """Renew the token before the next call, since the upstream refused it."""
        self._renew_at = 0.0

    async def _renew(self) -> None:
        tenant = quote(self._settings.tenant_id or "", safe="")
        form = urlencode(await self._token_request_form()).encode()
        path = f"/{tenant}/oauth2/v2.0/token"
        async with self._http.stream("POST", path, content=form, headers=_FORM) as reply:
            await raise_for_upstream(reply, lambda status, body: errors.UpstreamAuth)
            try:
                body = json.loads(await reply.aread())
                self._token, lifetime = body["access_token"], float(body["expires_in"])
            except (ValueError, KeyError, TypeError):
                raise errors.UpstreamAuth("the sign-in gave no token") from None
        # A short-lived token is renewed after half its lifetime, others 5 minutes early.
        self._renew_at = self._now() + max(lifetime - _RENEW_EARLY_S, lifetime / 2)

    async def _token_request_form(self) -> dict[str, str]:
        settings = self._settings
        form = {
            "grant_type": "client_credentials",
            "client_id": settings.client_id or "",
            "scope": settings.scope,
        }
        if settings.client_secret:
            return {**form, "client_secret": settings.client_secret.get_secret_value()}
        file = Path(settings.federated_token_file or "")
        try:
            assertion = await asyncio.to_thread(file.read_text, "utf-8")
        except OSError as error:
            reason = type(error).__name__
            raise errors.UpstreamAuth(f"the federated token cannot be read: {reason}") from None
        return {
            **form,
            "client_assertion_type": _JWT_BEARER,
            "client_assertion": assertion.strip(),
        }
