"""One cheap call to each deployment, through the adapter that will serve it."""

from __future__ import annotations

import asyncio
import difflib
import time
from collections.abc import Awaitable, Sequence
from contextlib import suppress

from hamlet.config import GatewayConfig
from hamlet.core import errors, redact
from hamlet.core.errors import ProviderError
from hamlet.doctor.connecting import diagnose, place
from hamlet.doctor.finding import Finding, Level
from hamlet.doctor.hearing import Heard, HearingPlugins
from hamlet.gateway.gateway import within
from hamlet.gateway.probing import ask_least
from hamlet.registry import Deployment, ProviderHandle, Registry, Route

_AT_ONCE = 8


async def examine_calls(
    registry: Registry, plugins: HearingPlugins, limit_s: float
) -> list[Finding]:
    """Ask every deployment once, for one token; and providers of no route for a sign of life."""
    caller = _Caller(registry.config, plugins, limit_s)
    found: dict[str, Awaitable[Finding]] = {}
    for route in registry.routes.values():
        for deployment in (d for tier in route.tiers for d in tier):
            if deployment.id not in found:
                found[deployment.id] = caller.deployment(route, deployment)
    used = {d.provider.name for r in registry.routes.values() for tier in r.tiers for d in tier}
    for name, handle in registry.providers.items():
        if name not in used:
            found[name] = caller.provider(handle)
    return list(await asyncio.gather(*found.values()))


class _Caller:
    def __init__(self, config: GatewayConfig, plugins: HearingPlugins, limit_s: float) -> None:
        self._config = config
        self._plugins = plugins
        self._limit_s = limit_s
        self._turns = asyncio.Semaphore(_AT_ONCE)

    async def deployment(self, route: Route, deployment: Deployment) -> Finding:
        asked = ask_least(route, deployment, self._limit_s)
        return await self._ask(deployment.provider, deployment.id, asked, deployment.model)

    async def provider(self, handle: ProviderHandle) -> Finding:
        if "probe" not in handle.operations:
            return Finding("provider", handle.name, "skipped", "no route names it")
        return await self._ask(handle, handle.name, within(handle.instance.probe(), self._limit_s))

    async def _ask(
        self, handle: ProviderHandle, subject: str, asked: Awaitable[object], model: str = ""
    ) -> Finding:
        heard = self._plugins.of(handle.instance)
        async with self._turns:
            start = time.monotonic()
            try:
                await asked
            except errors.EmptyAnswer:
                # One token may be all thought: it has answered.
                pass
            except ProviderError as error:
                level, message, advice = await self._judge(error, handle, heard, model)
                return Finding("provider", subject, level, message, advice)
            except OSError as error:
                told = f"{type(error).__name__}: {redact(error.strerror or '')}"
                return Finding("provider", subject, "failed", told, "check ca_file")
        if not heard.settings:
            return Finding("provider", subject, "skipped", "runs inside hamlet: no vendor to ask")
        return Finding("provider", subject, "ok", f"answered in {time.monotonic() - start:.2f} s")

    async def _judge(
        self, error: ProviderError, handle: ProviderHandle, heard: Heard, model: str
    ) -> tuple[Level, str, str]:
        settings = heard.settings[0] if heard.settings else None
        if settings is not None and error.phase == "connect":
            return "failed", *await diagnose(settings.base_url, settings.ca_file, self._limit_s)
        if isinstance(error, errors.ModelMissing):
            return "failed", f"the vendor knows no model {model!r}", await self._near(handle, model)
        where = place(settings.base_url) if settings else "the vendor"
        level, message, advice = _remedy(error)
        reference = _reference(self._config, handle.name)
        return level, message.format(where=where), advice.format(where=where, key=reference)

    async def _near(self, handle: ProviderHandle, model: str) -> str:
        """Advice on a model that is not there, with what is, if the vendor lists it."""
        listed: Sequence[str] = ()
        if "listing" in handle.operations:
            with suppress(ProviderError, OSError):
                listed = await within(handle.instance.models(), self._limit_s)
        near = difflib.get_close_matches(model, listed, n=3)
        told = "check the model's name; on Azure it is the deployment's"
        return f"{told}. The account has {', '.join(near)}" if near else told


def _reference(config: GatewayConfig, provider: str) -> str:
    """Where the key comes from; never the key."""
    told = config.providers[provider].settings.get("api_key")
    if isinstance(told, str) and told.startswith(("env:", "file:")):
        return told
    return "the credentials in the configuration" if told is None else "api_key"


_Remedy = tuple[Level, str, str]
_REMEDIES: tuple[tuple[type[ProviderError], _Remedy], ...] = (
    (errors.UpstreamAuth, ("failed", "the key is refused",
     "check {key}: revoked, of another account or region, or with a space at its end")),
    (errors.QuotaExhausted, ("failed", "the key is good, but its money or quota is used up",
     "add credit or raise the limit in the vendor's console")),
    (errors.RateLimited, ("warning", "the key is good; its rate is used up right now",
     "look at who else uses {key}; state tpm and rpm so that hamlet keeps within them")),
    (errors.Overloaded, ("warning", "the vendor says that it is overloaded",
     "try again later; a second tier would answer meanwhile")),
    (errors.UpstreamTimeout, ("failed", "{where} did not answer in time",
     "look at the vendor's status page, and at the way to it")),
    (errors.UpstreamUnavailable, ("failed", "{where} answers with its own errors, or breaks off",
     "look at the vendor's status page; try again later")),
    (errors.UpstreamProtocol, ("failed", "{where} answers, but not as this kind of API does",
     "check kind and base_url: a missing /v1 or a proxy's login page looks like this")),
    (errors.LocalLimit, ("failed", "this process may open no more files", "see open files")),
)  # fmt: skip


def _remedy(error: ProviderError) -> _Remedy:
    for kind, remedy in _REMEDIES:
        if isinstance(error, kind):
            return remedy
    # It read the request and refused this one: the key and the model are good.
    told = redact(error.message).replace("{", "(").replace("}", ")")
    return "warning", f"it answers, but refuses so small a call: {told}", "try a real call"
